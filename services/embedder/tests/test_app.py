"""The whole service: over its broker, and through its edge."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from chassis.local_files import LocalFiles
from contracts.envelope import Envelope
from contracts.facts import DocumentEmbedded, Fact
from embedder.main import create_app
from embedder.settings import EmbedderSettings
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from services.embedder.tests.at_work import AtWork, a_document
from services.embedder.tests.conftest import OPERATOR
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub

OPERATED = {"Authorization": f"Bearer {OPERATOR}"}


@pytest.fixture
async def app(settings: EmbedderSettings, kafka: str) -> AsyncIterator[FastAPI]:
    heard = settings.model_copy(
        update={"kafka": kafka, "kafka_fetch_max_wait_ms": 12, "kafka_session_timeout_ms": 6000}
    )
    app = create_app(heard)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://embedder") as client:
        yield client


@pytest.fixture
async def seen(settings: EmbedderSettings, engine: AsyncEngine, object_store: LocalFiles) -> AsyncIterator[AtWork]:
    """A look at what the service keeps."""
    at_work = AtWork(settings, engine, object_store)
    yield at_work
    for index in (await at_work.indexes()).values():
        await at_work.parts.shards.drop(index)
    await at_work.close()


async def say(kafka: str, fact: Fact) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    body = Envelope.wrap(fact, event_id=uuid4(), source="ingest", time=datetime.now(UTC)).to_bytes()
    await producer.send_and_wait(fact.topic.name, key=fact.subject.encode(), value=body)
    await producer.stop()


async def test_what_ingest_says_is_embedded(app: FastAPI, seen: AtWork, kafka: str) -> None:
    document = a_document(chunks=70)
    await seen.split(document)
    await say(kafka, document.chunked())
    async with asyncio.timeout(30):
        while not await seen.said(DocumentEmbedded):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert len(await seen.vectors(document)) == 70


async def test_it_is_ready_when_all_it_needs_is_there(client: httpx.AsyncClient, seen: AtWork) -> None:
    async with asyncio.timeout(30):
        while (answer := await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert answer.json() == {"status": "ok"}
    assert (await client.get("/health/live")).status_code == 200


async def test_an_operator_has_the_index_rebuilt_and_follows_it(client: httpx.AsyncClient, seen: AtWork) -> None:
    document = a_document()
    await seen.embed(document)
    begun = await client.post("/internal/indexes", json={"model": None}, headers=OPERATED)
    assert begun.status_code == 202
    assert begun.json() | {"done": 0} == {
        "index_id": begun.json()["index_id"],
        "generation": 2,
        "model": "openai:text-embedding-3-small",
        "dimension": 64,
        "state": "building",
        "done": 0,
        "total": 3,
        "refused": 0,
    }
    async with asyncio.timeout(30):
        while True:
            items = (await client.get("/internal/indexes", headers=OPERATED)).json()["items"]
            if [item["state"] for item in items] == ["active", "retired"]:
                break
            await asyncio.sleep(0.05)
    assert [(item["generation"], item["done"], item["total"]) for item in items] == [(2, 3, 3), (1, 3, 3)]


async def test_an_operator_calls_a_build_off(client: httpx.AsyncClient, seen: AtWork, openai_stub: OpenAIStub) -> None:
    await seen.embed(a_document())
    openai_stub.embeddings.then(Behaviour())
    openai_stub.embeddings.usual = Behaviour(status=503)
    model = "openai:text-embedding-3-large"
    begun = await client.post("/internal/indexes", json={"model": model}, headers=OPERATED)
    ended = await client.delete("/internal/indexes/building", headers=OPERATED)
    again = await client.delete("/internal/indexes/building", headers=OPERATED)
    assert (ended.status_code, again.status_code, again.json()["code"]) == (200, 404, "index.not_building")
    assert [(one["index_id"], one["state"]) for one in ended.json()["items"]] == [(begun.json()["index_id"], "retired")]


@pytest.mark.parametrize("authorization", [None, "", "Bearer wrong", f"Basic {OPERATOR}", OPERATOR])
async def test_nobody_else_may(client: httpx.AsyncClient, seen: AtWork, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for answer in (
        await client.get("/internal/indexes", headers=headers),
        await client.post("/internal/indexes", json={}, headers=headers),
        await client.delete("/internal/indexes/building", headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "operator.refused")
    assert len(await seen.indexes()) == 1


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"model": "nonsense"}, "model.unknown", "model"),
        ({"model": "local", "dimension": 7}, "model.unknown", "dimension"),
        ({"model": 5}, "request.invalid", "model"),
        ({"dimension": 0}, "request.invalid", "dimension"),
        ({"modell": "local"}, "request.invalid", "modell"),
    ],
)
async def test_a_model_that_cannot_be_used_is_refused(
    client: httpx.AsyncClient, seen: AtWork, body: dict[str, object], code: str, field: str
) -> None:
    answer = await client.post("/internal/indexes", json=body, headers=OPERATED)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_two_rebuilds_with_different_models_are_refused(
    client: httpx.AsyncClient, seen: AtWork, openai_stub: OpenAIStub
) -> None:
    await seen.embed(a_document())
    openai_stub.embeddings.then(Behaviour())  # whether it can be used at all; then it is busy
    openai_stub.embeddings.usual = Behaviour(status=503)
    first = await client.post("/internal/indexes", json={"model": "openai:text-embedding-3-large"}, headers=OPERATED)
    second = await client.post("/internal/indexes", json={"model": None}, headers=OPERATED)
    assert (first.status_code, second.status_code, second.json()["code"]) == (202, 409, "index.busy")


async def test_a_model_whose_provider_refuses_us_is_refused(
    client: httpx.AsyncClient, seen: AtWork, openai_stub: OpenAIStub
) -> None:
    openai_stub.embeddings.usual = Behaviour(status=401)
    answer = await client.post("/internal/indexes", json={"model": "openai:text-embedding-3-large"}, headers=OPERATED)
    assert (answer.status_code, answer.json()["code"]) == (503, "provider.misconfigured")

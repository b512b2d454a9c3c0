"""Ingest as a whole: its app, on a broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from chassis.schema import WrongSchema
from contracts.envelope import Envelope
from contracts.facts import DocumentChunked, DocumentParsingStarted, DocumentPurged, Fact
from fastapi import FastAPI
from ingest.main import create_app
from ingest.settings import IngestSettings

from services.ingest.tests.at_work import AtWork, Document
from services.ingest.tests.waiting import until
from tests.samples.annual_report import annual_report_pdf

ERROR = 60.0


@pytest.fixture
async def app(settings: IngestSettings, keys: Any) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        app.state.verifier = keys.verifier
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
        yield client


@pytest.fixture
async def topic(kafka: str) -> AsyncIterator[Callable[..., Any]]:
    """`await topic(fact, …)` says facts; `topic.heard` are those that ingest has said."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()

    async def say(*facts: Fact) -> None:
        for fact in facts:
            envelope = Envelope.wrap(fact, event_id=uuid4(), source="test", time=datetime.now(UTC))
            await producer.send_and_wait(fact.topic.name, envelope.to_bytes(), key=fact.subject.encode())

    yield say
    await producer.stop()


@pytest.fixture
async def heard(kafka: str) -> AsyncIterator[Callable[[type[Fact]], Any]]:
    """`await heard(DocumentChunked)`: the next fact of that kind on the topic."""
    consumer = AIOKafkaConsumer("documents", bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()

    async def next_of(kind: type[Fact]) -> Fact:
        async with asyncio.timeout(ERROR):
            async for record in consumer:
                fact = Envelope.parse(record.value).fact()
                if isinstance(fact, kind):
                    return fact
        raise AssertionError

    yield next_of
    await consumer.stop()


async def test_a_report_travels_from_the_topic_to_its_chunks_and_out_of_the_world(
    app: FastAPI,
    http: httpx.AsyncClient,
    ingest: AtWork,
    topic: Callable[..., Any],
    heard: Callable[[type[Fact]], Any],
    token_for: Callable[[UUID], str],
) -> None:
    document = Document(annual_report_pdf())
    headers = {"Authorization": f"Bearer {token_for(document.owner)}"}
    await ingest.store_upload(document)
    await topic(document.uploaded())
    started, chunked = await heard(DocumentParsingStarted), await heard(DocumentChunked)
    assert started.document_id == chunked.document_id == document.id
    assert chunked.pages == 76
    assert chunked.chunk_count > 76 * 15  # chunks of 200 characters

    page = await http.get(f"/api/docs/{document.id}/chunks", headers=headers | {"Docqa-Live-Version": "1"})
    assert page.json()["items"][0]["page"] == 1

    await topic(document.deleted())
    purged = await heard(DocumentPurged)
    assert (purged.erased, purged.remaining) == (chunked.chunk_count + 1, 0)
    gone = await http.get(f"/api/docs/{document.id}/chunks", headers=headers | {"Docqa-Live-Version": "1"})
    assert gone.status_code == 404


async def test_it_tells_that_it_is_well(app: FastAPI, http: httpx.AsyncClient) -> None:
    assert (await http.get("/health/live")).status_code == 200

    async def is_ready() -> bool:
        return (await http.get("/health/ready")).status_code == 200

    await until(is_ready, ERROR)
    assert "docqa_jobs" in (await http.get("/metrics")).text


async def test_it_refuses_to_start_on_a_database_that_is_not_migrated(
    database: Callable[[None], Any], settings: IngestSettings
) -> None:
    app = create_app(settings.model_copy(update={"database_url": await database(None)}))

    with pytest.raises(WrongSchema, match=r"python -m ingest\.migrate"):
        async with app.router.lifespan_context(app):
            pass

"""Qa as a process: its settings, its schema, its health, and its place in the stream of facts."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from chassis import migrating
from chassis.ids import uuid7
from chassis.schema import WrongSchema
from chassis.settings import load
from contracts.envelope import Envelope
from contracts.facts import DocumentReady, Fact, IndexActivated
from contracts.flow import FLOW
from contracts.index import collection_name
from messaging.outbox import Outbox
from messaging.tables import OutboxRow
from qa.main import create_app, stage_of
from qa.settings import QaSettings
from qa.subscribers import Subscribers
from sqlalchemy import select

from .conftest import DIMENSION, SHARDS, serving

ENVIRONMENT = {
    "DOCQA_QA_PORT": "8004",
    "DOCQA_QA_DATABASE_URL": "postgresql+asyncpg://qa:secret@/qa?host=/run/docqa",
    "DOCQA_KAFKA": "127.0.0.1:9092",
    "DOCQA_AUTH_URL": "http://127.0.0.1:8001",
    "DOCQA_OBJECT_STORE": "file:///var/lib/docqa",
    "DOCQA_CHROMA_URL": "http://127.0.0.1:8100",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("DOCQA_")]:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DOCQA_QA_VECTORS_TIMEOUT", "1.5")
    settings = load(QaSettings)
    assert (settings.port, settings.vectors_timeout, settings.chat_model) == (8004, 1.5, "extractive")


def test_a_mistyped_setting_is_named(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setenv("DOCQA_QA_VECTOR_TIMEOUT", "1.5")
    with pytest.raises(SystemExit):
        load(QaSettings)
    assert "DOCQA_QA_VECTORS_TIMEOUT" in capsys.readouterr().err


async def test_migrations_go_up_and_down_and_say_what_the_tables_say(database: Any) -> None:
    url = await database("qa")
    await migrating.check_models("qa", url)
    await migrating.downgrade("qa", url)
    await migrating.upgrade("qa", url)
    await migrating.upgrade("qa", url)
    await migrating.check_models("qa", url)


async def test_it_refuses_an_empty_database(service: Any, database: Any) -> None:
    app = service.app(settings={"database_url": await database(None)})
    with pytest.raises(WrongSchema):
        async with app.router.lifespan_context(app):
            pass


async def test_it_is_ready_when_it_can_answer(service: Any, address: str) -> None:
    assert service.embeddings.loaded
    assert service.chat.loaded
    async with httpx.AsyncClient(base_url=address) as http:
        assert (await http.get("/health/ready")).status_code == 200
        assert (await http.get("/health/live")).status_code == 200
        assert "docqa_ask_step_seconds" in (await http.get("/metrics")).text


def test_it_hears_what_the_flow_says_it_hears() -> None:
    subscriptions = Subscribers(stage_of(Outbox("qa"))).subscriptions()
    heard = {fact for subscription in subscriptions for fact in subscription.handlers}
    assert heard == {step.fact for step in FLOW if "qa" in step.heard_by}


async def test_a_document_becomes_ready_over_a_real_broker(service: Any, kafka: str, person: Any) -> None:
    """Everything put together, with the extractive answers and the local embeddings that are the default."""
    user, index_id = uuid7(), f"index-{uuid7().hex}"
    settings = service.settings.model_copy(update={"kafka": kafka})
    app = create_app(settings, open_model=lambda name, dimension: service.embeddings)
    app.state.verifier = service.verifier
    for shard in range(SHARDS):
        service.chroma.create_collection(
            collection_name(index_id, shard), embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
    service.index_id = index_id
    facts: list[Fact] = [
        IndexActivated(index_id=index_id, generation=5, model="local", dimension=DIMENSION, shards=SHARDS),
        await service.embed(user, ["The Kestrel pump runs at 4200 rpm.", "The valve is made of bronze."]),
    ]
    async with serving(app) as url:
        await publish(kafka, facts)
        async with asyncio.timeout(60):
            while not await service.said(DocumentReady):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.05)
        answer = await person(user, at=url).answer("How fast does the Kestrel pump run?")
        async with asyncio.timeout(20):
            while await unsent(service):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.05)
    assert answer["model"] == "extractive"
    assert "4200 rpm" in answer["answer"]
    assert answer["sources"][0]["cited"] is True
    assert answer["sources"][0]["page"] == 1


async def unsent(service: Any) -> int:
    async with service.sessions() as session:
        return len((await session.scalars(select(OutboxRow).where(OutboxRow.sent_at.is_(None)))).all())


async def publish(kafka: str, facts: list[Fact]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for fact in facts:
        envelope = Envelope.wrap(fact, event_id=uuid7(), source="test", time=datetime.now(UTC))
        await producer.send_and_wait(fact.topic.name, envelope.to_bytes(), key=fact.subject.encode())
    await producer.stop()

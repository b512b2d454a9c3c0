"""What KEDA counts is what is due, in the real table; what it reads is what our consumers read."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from chassis.database import create_engine, create_sessions
from chassis.transactions import driver_of
from contracts.topics import DOCUMENTS
from embedder.workers import Embed, Rebuild
from ingest.workers import Parse
from messaging import jobs, taking
from messaging.subscribing import group_of
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from conftest import FreshDatabase
from tests.deploy.rendering import Object, render

KINDS = {"ingest": [Parse.kind], "embedder": [Embed.kind, Rebuild.kind]}

FINISHED = """
    INSERT INTO jobs (subject, version, kind, part, owner, state, finished_at)
    SELECT gen_random_uuid()::text, 1, :kind, 0, gen_random_uuid()::text, 'done', now() FROM generate_series(1, 50000)
"""

GUARDED = {"security": "SASL_SSL", "saslMechanism": "SCRAM-SHA-512", "caSecret": "kafka-ca"}


def scaled(service: str) -> Object:
    spec: Object = render().one("ScaledObject", f"docqa-{service}")["spec"]
    return spec


def trigger(service: str, kind: str) -> Object:
    (found,) = (each for each in scaled(service)["triggers"] if each["type"] == kind)
    return found


@pytest.fixture(params=KINDS)
async def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def engine(service: str, database: FreshDatabase) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(await database(service))
    yield engine
    await engine.dispose()


async def counted(engine: AsyncEngine, service: str) -> int:
    async with engine.connect() as connection:
        found = await connection.scalar(text(trigger(service, "postgresql")["metadata"]["query"]))
    assert isinstance(found, int)
    return found


async def add(engine: AsyncEngine, kind: str, count: int, delay: timedelta | None = None) -> None:
    new = [jobs.NewJob(kind=kind, subject=uuid4(), version=1, owner=uuid4(), delay=delay) for _ in range(count)]
    async with create_sessions(engine).begin() as session:
        await jobs.add_many(session, new)


async def test_jobs_that_wait_and_may_begin_are_due(engine: AsyncEngine, service: str) -> None:
    for kind in KINDS[service]:
        await add(engine, kind, 3)

    assert await counted(engine, service) == 3 * len(KINDS[service])


async def test_what_somebody_is_doing_still_counts(engine: AsyncEngine, service: str) -> None:
    """Otherwise the last jobs of a backlog would count as none while every replica is busy with them."""
    kind = KINDS[service][0]
    await add(engine, kind, 3)
    async with create_sessions(engine).begin() as session:
        taken, _ = await taking.take(await driver_of(session), kind=kind, lease=timedelta(minutes=1), most=2)

    assert len(taken) == 2
    assert await counted(engine, service) == 3


async def test_what_backs_off_is_done_and_what_is_not_work_is_not_due(engine: AsyncEngine, service: str) -> None:
    await add(engine, KINDS[service][0], 2, delay=timedelta(minutes=5))
    await add(engine, "sweep", 2)
    await add(engine, KINDS[service][0], 2)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE jobs SET state = 'done' WHERE available_at <= now() AND kind <> 'sweep'"))

    assert await counted(engine, service) == 0


async def test_a_week_of_finished_jobs_is_not_read(engine: AsyncEngine, service: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(FINISHED).bindparams(kind=KINDS[service][0]))
    await add(engine, KINDS[service][0], 20)
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE jobs"))
        query = trigger(service, "postgresql")["metadata"]["query"]
        plan = "\n".join((await autocommit.scalars(text(f"EXPLAIN {query}"))).all())

    assert "Seq Scan" not in plan


def test_the_lag_is_that_of_our_consumers_on_our_topic(service: str) -> None:
    read = trigger(service, "kafka")["metadata"]

    assert read["topic"] == DOCUMENTS.name
    assert read["consumerGroup"] == group_of(service, DOCUMENTS.name)


def test_keda_connects_to_the_database_of_the_service(service: str) -> None:
    rendered = render({"services": {service: {"database": {"password": "p@ss word"}}}})
    name = trigger(service, "postgresql")["authenticationRef"]["name"]
    (reference,) = rendered.one("TriggerAuthentication", name)["spec"]["secretTargetRef"]
    url = make_url(rendered.one("Secret", reference["name"])["stringData"][reference["key"]])

    assert reference["parameter"] == "connection"
    assert (url.drivername, url.username, url.password, url.database) == ("postgresql", service, "p@ss word", service)


def test_replicas_come_soon_and_go_late_and_one_by_one(service: str) -> None:
    behavior = scaled(service)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    down = behavior["scaleDown"]

    assert behavior["scaleUp"]["stabilizationWindowSeconds"] < down["stabilizationWindowSeconds"] == 300
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    assert scaled(service)["minReplicaCount"] >= 1


def test_keda_shows_kafka_what_the_service_shows_it(service: str) -> None:
    rendered = render({"kafka": GUARDED, "secrets": {"kafkaUsername": "docqa", "kafkaPassword": "p@ss word"}})
    (lag,) = (
        each for each in rendered.one("ScaledObject", f"docqa-{service}")["spec"]["triggers"] if each["type"] == "kafka"
    )
    shown = rendered.one("TriggerAuthentication", lag["authenticationRef"]["name"])["spec"]["secretTargetRef"]
    secret = rendered.one("Secret", f"docqa-{service}")["stringData"]

    assert (lag["metadata"]["sasl"], lag["metadata"]["tls"]) == ("scram_sha512", "enable")
    assert {each["parameter"]: secret.get(each["key"], each) for each in shown} == {
        "username": "docqa",
        "password": "p@ss word",
        "ca": {"parameter": "ca", "name": "kafka-ca", "key": "ca.crt"},
    }


def test_keda_shows_an_open_kafka_nothing(service: str) -> None:
    assert not {"sasl", "tls"} & set(trigger(service, "kafka")["metadata"])
    assert "authenticationRef" not in trigger(service, "kafka")

"""Put together: settings, schema, health, and one upload that travels over a broker."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from chassis import migrating
from chassis.database import create_engine, create_sessions
from chassis.schema import WrongSchema
from chassis.settings import load
from contracts.facts import DocumentUploaded
from contracts.flow import FLOW
from contracts.topics import DOCUMENTS
from gateway.main import create_app
from gateway.settings import GatewaySettings
from gateway.subscribers import subscriptions
from messaging.delivery import Delivery
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from .front_door import Gateway, Person, a_life

ENVIRONMENT = {
    "DOCQA_GATEWAY_PORT": "8000",
    "DOCQA_GATEWAY_DATABASE_URL": "postgresql+asyncpg://gateway@/gateway",
    "DOCQA_KAFKA": "127.0.0.1:9092",
    "DOCQA_AUTH_URL": "http://auth",
    "DOCQA_GATEWAY_QA_URL": "http://qa",
    "DOCQA_GATEWAY_INGEST_URL": "http://ingest",
    "DOCQA_OBJECT_STORE": "file:///objects",
}


WRONG_ORIGINS = ["a.example", "https://a.example/", "https://a.example https://b.example", "https://A.example", "null"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`environment(NAME="value")`: the usual settings, and these."""

    def told(**more: str) -> None:
        for name, value in {**ENVIRONMENT, **more}.items():
            monkeypatch.setenv(name, value)

    return told


@pytest.mark.parametrize("origins", WRONG_ORIGINS)
def test_an_origin_that_no_browser_sends_is_refused(
    environment: Callable[..., None], capsys: pytest.CaptureFixture[str], origins: str
) -> None:
    environment(DOCQA_CORS_ORIGINS=origins)

    with pytest.raises(SystemExit):
        load(GatewaySettings)

    assert "origin" in capsys.readouterr().err


@pytest.mark.parametrize("origin", ["*", "http://my_host:3000", "capacitor://localhost", "http://[::1]:5173"])
def test_an_origin_that_a_browser_sends_is_taken(environment: Callable[..., None], origin: str) -> None:
    environment(DOCQA_CORS_ORIGINS=origin)

    assert load(GatewaySettings).cors_origins == (origin,)


def test_settings_come_from_the_environment(environment: Callable[..., None]) -> None:
    environment(
        DOCQA_CORS_ORIGINS="https://a.example, https://b.example",
        DOCQA_GATEWAY_SWEEP_SECONDS="1, 2",
        DOCQA_CHAT_MODEL="openai:gpt-x",
    )

    settings = load(GatewaySettings)

    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.sweep_seconds == (1, 2)
    assert settings.chat_model == "openai:gpt-x"


@pytest.mark.parametrize(
    "wrong", [{"DOCQA_GATEWAY_QA_URL": ""}, {"DOCQA_GATEWAY_MAX_FILES": "0"}, {"DOCQA_GATEWAY_SWEEP_SECONDS": "x"}]
)
def test_wrong_settings_are_refused(
    wrong: dict[str, str], environment: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    environment(**wrong)

    with pytest.raises(SystemExit):
        load(GatewaySettings)

    assert next(iter(wrong)) in capsys.readouterr().err


async def test_the_schema_goes_up_and_down_and_says_what_the_tables_say(database: Any) -> None:
    url = await database(None)
    await migrating.upgrade("gateway", url)
    await migrating.check_models("gateway", url)

    await migrating.downgrade("gateway", url)

    engine = create_engine(url)
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    assert set(tables) <= {"alembic_version", "schema_floor"}
    await migrating.upgrade("gateway", url)


async def test_an_older_schema_is_refused(settings: GatewaySettings, database: Any) -> None:
    app = create_app(settings.model_copy(update={"database_url": await database(None)}))

    with pytest.raises(WrongSchema):
        async with app.router.lifespan_context(app):
            pass


async def test_readiness_is_database_and_object_store_and_nothing_else(start: Any, tmp_path: Path) -> None:
    well: Gateway = start()
    assert (await well.people(None).http.get("/health/ready")).status_code == 200
    assert (await well.people(None).http.get("/health/live")).status_code == 200
    (tmp_path / "a file").write_text("in the way")

    broken: Gateway = start(
        object_store=f"file://{tmp_path}/a file/objects", database_url="postgresql+asyncpg://x@127.0.0.1:1/x"
    )
    answer = await broken.people(None).http.get("/health/ready")

    assert answer.status_code == 503
    assert set(answer.json()["missing"]) == {"database", "object_store"}


async def test_a_database_that_is_away_is_a_503(start: Any) -> None:
    gateway: Gateway = start(database_url="postgresql+asyncpg://x@127.0.0.1:1/x")

    answer = await gateway.people(None).http.get("/api/docs")

    assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
    assert "retry-after" in answer.headers


def test_it_hears_what_the_flow_says_it_hears() -> None:
    heard = {fact for each in subscriptions(Outbox("gateway")) for fact in each.handlers}

    assert heard == {step.fact for step in FLOW if "gateway" in step.heard_by}


async def test_an_upload_travels_over_the_broker_and_comes_back_ready(
    gateway: Gateway, ada: Person, kafka: str, database: Any
) -> None:
    """The gateway as it runs, and somebody on the other side who says at once what three services would say."""
    app = create_app(gateway.settings.model_copy(update={"kafka": kafka}))
    others = create_engine(await database("ingest"))
    outbox = Outbox("ingest")

    async def uploaded(session: AsyncSession, _fence: Fence, fact: DocumentUploaded) -> None:
        for said in a_life(fact.owner_id, fact.document_id):
            outbox.add(session, said)

    elsewhere = Delivery(
        "ingest",
        gateway.settings.model_copy(update={"kafka": kafka}),
        others,
        sessions=create_sessions(others),
        subscriptions=[Subscription(DOCUMENTS, {DocumentUploaded: uploaded})],
    )
    async with (
        app.router.lifespan_context(app),
        elsewhere.running(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway", headers=ada.http.headers
        ) as http,
    ):
        answer = await http.post("/api/upload", files=[("files", ("a.txt", b"words", "text/plain"))])
        document = UUID(answer.json()["documents"][0]["id"])
        changes = app.state.parts.stream._changes
        with changes.watch(ada.id, await changes.read(ada.id)) as watch:
            async with asyncio.timeout(30):
                while (shown := (await http.get(f"/api/docs/{document}")).json())["status"] != "ready":
                    await watch.changed.wait()
                    watch.changed.clear()
    await others.dispose()

    assert shown["live_version"] == 1

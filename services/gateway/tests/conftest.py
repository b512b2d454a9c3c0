"""A gateway on a real database and a real folder, before services that say what a test tells them to say."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chassis.database import create_engine, create_sessions
from chassis.local_files import LocalFiles
from gateway.main import create_app
from gateway.settings import GatewaySettings

from .front_door import Behind, Gateway, Person, served


@pytest.fixture
def behind(keys: Any) -> Behind:
    return Behind(jwks=keys.jwks)


@pytest.fixture
async def behind_url(behind: Behind) -> AsyncIterator[str]:
    async with served(behind.app()) as url:
        yield url


@pytest.fixture
async def database_url(shared_database: Any) -> str:
    url: str = await shared_database("gateway")
    return url


@pytest.fixture
async def settings(database_url: str, behind_url: str, tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(
        port=0,
        database_url=database_url,
        kafka="127.0.0.1:1",
        auth_url=f"{behind_url}/auth",
        qa_url=f"{behind_url}/qa",
        ingest_url=f"{behind_url}/ingest",
        object_store=f"file://{tmp_path}/objects",
        max_file_bytes=100_000,
        upload_stall_seconds=1,
        heartbeat_seconds=0.2,
    )


Start = Callable[..., Gateway]


@pytest.fixture
async def start(settings: GatewaySettings, behind: Behind, token_for: Any, tmp_path: Path) -> AsyncIterator[Start]:
    """`start()`: a gateway; again: one more on the same database. Settings may be changed by keyword."""
    closing: list[Callable[[], Awaitable[None]]] = []

    def begin(**changes: Any) -> Gateway:
        own = settings.model_copy(update=changes)
        app = create_app(own)
        engine = create_engine(own)

        def person(user: UUID | None = None) -> Person:
            id_ = user or uuid4()
            token = token_for(id_)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://gateway",
                headers={"Authorization": f"Bearer {token}"},
            )
            closing.append(client.aclose)
            return Person(id=id_, token=token, http=client)

        closing.extend([app.state.parts.qa._http.close, engine.dispose, app.state.parts.reads.kw["bind"].dispose])
        return Gateway(app, own, create_sessions(engine), LocalFiles(tmp_path / "objects"), behind, person)

    yield begin
    for close in closing:
        await close()


@pytest.fixture
def gateway(start: Start) -> Gateway:
    return start()


@pytest.fixture
def ada(gateway: Gateway) -> Person:
    return gateway.people(None)


@pytest.fixture
def bob(gateway: Gateway) -> Person:
    return gateway.people(None)

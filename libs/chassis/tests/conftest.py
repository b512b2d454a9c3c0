"""What the chassis' own tests are built from."""

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import httpx
import pytest
from chassis.settings import ServiceSettings
from fastapi import FastAPI


class SomeSettings(ServiceSettings):
    """A service that exists only here."""

    service: ClassVar[str] = "some"


@pytest.fixture
def settings() -> SomeSettings:
    return SomeSettings(
        port=0,
        database_url="postgresql+asyncpg://some:secret@/some",
        kafka="127.0.0.1:1",
        auth_url="http://127.0.0.1:1",
    )


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """`client_of(app)`: a client that talks to the app without a network, and does not raise what the app raises."""
    opened: list[httpx.AsyncClient] = []

    def open_client(app: FastAPI, **options: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://docqa", **options)
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        await client.aclose()

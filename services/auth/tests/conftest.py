"""Auth on a real database, and people who use it."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import httpx
import pytest
from auth.accounts import Accounts
from auth.main import create_app
from auth.settings import AuthSettings
from chassis.database import Sessions, create_engine, create_sessions
from fastapi import FastAPI

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading certificates takes longer than most tests

PASSWORD = "correct horse battery staple"


@dataclass
class Person:
    """Somebody with an account."""

    email: str
    password: str
    tokens: dict[str, Any]

    @property
    def id(self) -> UUID:
        return UUID(self.tokens["user"]["id"])

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}


class SignUp(Protocol):
    def __call__(self, email: str = ..., password: str = ..., name: str | None = ...) -> Awaitable[Person]: ...


@pytest.fixture
async def database_url(shared_database: Any) -> str:
    url: str = await shared_database("auth")
    return url


@pytest.fixture
def settings(database_url: str) -> AuthSettings:
    return AuthSettings(port=0, database_url=database_url, kafka="127.0.0.1:1", auth_url="http://127.0.0.1:1")


@pytest.fixture
async def replica() -> AsyncIterator[Callable[[AuthSettings], httpx.AsyncClient]]:
    """`replica(settings)`: a client of one more auth. Nothing runs in its background."""
    opened: list[httpx.AsyncClient] = []
    apps: list[FastAPI] = []

    def start(settings: AuthSettings) -> httpx.AsyncClient:
        app = create_app(settings)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://auth", verify=NO_TLS)
        apps.append(app)
        opened.append(client)
        return client

    yield start
    for client in opened:
        await client.aclose()
    for app in apps:
        accounts: Accounts = app.state.accounts
        await accounts.transactions.close()
        await accounts.sessions.kw["bind"].dispose()


@pytest.fixture(name="auth")
def one_auth(replica: Callable[[AuthSettings], httpx.AsyncClient], settings: AuthSettings) -> httpx.AsyncClient:
    return replica(settings)


@pytest.fixture
def edge(replica: Callable[[AuthSettings], httpx.AsyncClient]) -> httpx.AsyncClient:
    """An auth whose database is away: what it refuses, it refuses without looking."""
    nowhere = "postgresql+asyncpg://auth:x@127.0.0.1:1/auth"
    return replica(AuthSettings(port=0, database_url=nowhere, kafka="127.0.0.1:1", auth_url="http://127.0.0.1:1"))


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    """For looking into the database, and for making time pass in it."""
    engine = create_engine(database_url)
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture
def sign_up(auth: httpx.AsyncClient) -> SignUp:
    async def signing_up(email: str = "ada@example.org", password: str = PASSWORD, name: str | None = "Ada") -> Person:
        answer = await auth.post("/api/auth/signup", json={"email": email, "password": password, "name": name})
        assert answer.status_code == 201, answer.text
        return Person(email=email, password=password, tokens=answer.json())

    return signing_up


@pytest.fixture
async def ada(sign_up: SignUp) -> Person:
    return await sign_up()


@pytest.fixture
async def grace(sign_up: SignUp) -> Person:
    return await sign_up("grace@example.org", name="Grace")

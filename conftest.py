"""The real things that tests run on: PostgreSQL, a Kafka, Chroma, all from wheels and all thrown away afterwards.

Where servers are given in the environment, those are used: `DOCQA_TEST_POSTGRES_URL` (a superuser's, for SQLAlchemy),
`DOCQA_TEST_KAFKA` (bootstrap servers; our topics there are emptied, and its `message.max.bytes` and
`group.min.session.timeout.ms` should be as in tests/engines/native_kafka.py), `DOCQA_TEST_CHROMA_URL`. `make engines`
starts real ones and prints these names.
"""

import io
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import jwt
import pytest
import pytest_asyncio
from chassis import migrating
from chassis.database import create_engine
from chassis.identity import TokenVerifier
from chassis.local_files import LocalFiles
from chassis.schema import FLOOR, VERSION
from contracts.tokens import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE
from contracts.topics import TOPICS
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from docqa.embedded.broker import EmbeddedKafka
from docqa.embedded.chroma import EmbeddedChroma
from docqa.embedded.postgres import EmbeddedPostgres, RunningPostgres, Server
from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]
from sqlalchemy import text

from tests.engines.emptying import emptied

pytest_plugins = ["tests.stubs.fixtures"]

PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}


class FreshDatabase(Protocol):
    """`await database("gateway")`: the URL of a database of that service's own, migrated; None: an empty one."""

    def __call__(self, service: str | None) -> Awaitable[str]: ...


class SharedDatabase(Protocol):
    """`await shared_database("auth")`: the URL of the one database of that service for the whole run, emptied."""

    def __call__(self, service: str) -> Awaitable[str]: ...


class TokenFor(Protocol):
    """`token_for(user_id, email)`: an access token that `keys.verifier` accepts; claims may be overridden."""

    def __call__(self, user_id: UUID, email: str = "ada@example.com", **claims: object) -> str: ...


@dataclass(frozen=True)
class Keys:
    """A signing key as auth would hold it, and the verifier that knows its public half."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    kid: str = "test-key"

    @property
    def jwks(self) -> dict[str, Any]:
        public = jwt.algorithms.OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self.kid, "alg": ALGORITHM, "use": "sig"}]}

    async def key(self, kid: str) -> jwt.PyJWK | None:
        return jwt.PyJWK(self.jwks["keys"][0], algorithm=ALGORITHM) if kid == self.kid else None

    @property
    def verifier(self) -> TokenVerifier:
        return TokenVerifier(self)

    def token(self, claims: dict[str, object]) -> str:
        headers = {"typ": TOKEN_TYPE, "kid": self.kid}
        return jwt.encode(claims, self.private, algorithm=ALGORITHM, headers=headers)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for the whole run."""
    if given := os.environ.get("DOCQA_TEST_POSTGRES_URL"):
        yield RunningPostgres(given)
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), fast=True)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def _templates() -> dict[str, str]:
    return {}


@pytest.fixture
async def database(postgres: Server, _templates: dict[str, str]) -> AsyncIterator[FreshDatabase]:
    """Databases for this test alone. Each belongs to the role of its service, and is cloned from a migrated one."""
    made: list[str] = []

    async def template(service: str) -> str:
        if service not in _templates:
            name = f"template_{service}_{uuid4().hex[:8]}"
            await _migrate_new(postgres, service, name)
            _templates[service] = name
        return _templates[service]

    async def fresh(service: str | None) -> str:
        owner = service or "nobody"
        name = f"{owner}_{uuid4().hex[:12]}"
        await postgres.create_role(owner)
        await postgres.create_database(name, owner=owner, template=await template(service) if service else None)
        made.append(name)
        return postgres.url(name, owner)

    yield fresh
    for name in made:
        await postgres.drop_database(name)


@pytest.fixture(scope="session")
def _shared() -> dict[str, str]:
    return {}


@pytest.fixture
def shared_database(postgres: Server, _shared: dict[str, str]) -> SharedDatabase:
    """For tests that leave its schema alone: to empty a database takes less time than to clone one."""

    async def emptied_of(service: str) -> str:
        if service not in _shared:
            _shared[service] = await _migrate_new(postgres, service, f"{service}_shared")
        engine = create_engine(_shared[service])
        async with engine.begin() as connection:
            await connection.execute(text(f"TRUNCATE {await connection.scalar(text(_FILLED_TABLES))}"))
        await engine.dispose()
        return _shared[service]

    return emptied_of


_FILLED_TABLES = f"""
    SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
    WHERE schemaname = 'public' AND tablename NOT IN ('{VERSION.name}', '{FLOOR.name}')
"""


async def _migrate_new(postgres: Server, service: str, name: str) -> str:
    """The URL of a database of that name, which is the service's own."""
    await postgres.create_role(service)
    await postgres.create_database(name, owner=service)
    await migrating.upgrade(service, postgres.url(name, service))
    return postgres.url(name, service)


@pytest.fixture
async def kafka() -> AsyncIterator[str]:
    """Bootstrap servers of a broker with all our topics, empty."""
    if given := os.environ.get("DOCQA_TEST_KAFKA"):
        await emptied(given)
        yield given
        return
    with EmbeddedKafka(PARTITIONS) as broker:
        yield broker.bootstrap_servers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chroma(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of one Chroma server for the whole run: use an index id of your own."""
    if given := os.environ.get("DOCQA_TEST_CHROMA_URL"):
        yield given
        return
    server = EmbeddedChroma(tmp_path_factory.mktemp("chroma") / "data")
    await server.start()
    yield server.url
    await server.stop()


@pytest.fixture
def object_store(tmp_path: Path) -> LocalFiles:
    """A folder as object store, empty."""
    return LocalFiles(tmp_path / "objects")


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture(scope="session")
def token_for(keys: Keys) -> TokenFor:
    def make(user_id: UUID, email: str = "ada@example.com", **claims: object) -> str:
        now = int(time.time())
        usual: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "iat": now,
            "exp": now + 600,
            "jti": str(uuid4()),
            "email": email,
        }
        return keys.token({**usual, **claims})

    return make


@pytest.fixture(scope="session")
def pdf() -> Callable[[list[str]], bytes]:
    """`pdf(["text of page 1", …])`: a real PDF file with one page a text, wrapped to the page's width."""
    return draw_pdf


def draw_pdf(pages: list[str]) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=True)
    for page in pages:
        lines = canvas.beginText(50, A4[1] - 60)
        for paragraph in page.splitlines() or [""]:
            for line in _wrapped(paragraph):
                lines.textLine(line)
        canvas.drawText(lines)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _wrapped(paragraph: str, width: int = 90) -> Iterator[str]:
    words = paragraph.split(" ")
    while words:
        lengths = itertools.accumulate(len(word) + 1 for word in words)
        count = max(1, sum(1 for length in lengths if length <= width))
        yield " ".join(words[:count])
        words = words[count:]

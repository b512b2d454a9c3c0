"""A gateway in its tests: doors to what lies behind it, and people in front of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from chassis.database import Sessions
from chassis.local_files import LocalFiles
from contracts.envelope import Envelope
from contracts.facts import (
    DocumentChunked,
    DocumentEmbedded,
    DocumentFact,
    DocumentFailed,
    DocumentPurged,
    DocumentReady,
    Fact,
)
from fastapi import FastAPI, Request, Response
from gateway.settings import GatewaySettings
from gateway.subscribers import subscriptions
from messaging import fences
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.subscribing import Together
from messaging.tables import JobRow, OutboxRow
from messaging.workers import Work
from sqlalchemy import select
from starlette.responses import JSONResponse

A_HASH = "a" * 64


@dataclass
class Behind:
    """Auth, qa and ingest, at `/auth`, `/qa` and `/ingest`: what they were asked, and what they answer."""

    jwks: dict[str, Any]
    exchanged: dict[str, str] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    exchanges: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    answer: Callable[[Request], Awaitable[Response]] | None = None

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/auth/.well-known/jwks.json")
        async def jwks() -> dict[str, Any]:
            return self.jwks

        @app.post("/auth/internal/keys/exchange")
        async def exchange(request: Request) -> Response:
            key = (await request.json())["key"]
            self._note(request, b"")
            self.exchanges.put_nowait(key)
            if key not in self.exchanged:
                return Response("{}", 401)
            return JSONResponse({"access_token": self.exchanged[key], "expires_in": 60})

        @app.api_route("/{service}/{path:path}", methods=["GET", "POST", "PATCH", "DELETE"])
        async def anything(service: str, request: Request) -> Response:
            self._note(request, await request.body())
            if self.answer is not None:
                return await self.answer(request)
            return Response(f'{{"said_by": "{service}"}}', media_type="application/json")

        return app

    def _note(self, request: Request, body: bytes) -> None:
        service, _, path = str(request.url).removeprefix(str(request.base_url)).partition("/")
        self.asked.append(httpx.Request(request.method, f"http://{service}/{path}", headers=request.headers.raw))
        self.bodies.append(body)


@dataclass
class Person:
    """Somebody with a token, and a client that sends it."""

    id: UUID
    token: str
    http: httpx.AsyncClient

    async def upload(self, *files: tuple[str, bytes, str], **headers: str) -> httpx.Response:
        parts = [("files", file) for file in files]
        return await self.http.post("/api/upload", files=parts, headers=headers)

    async def has_uploaded(self, name: str = "notes.txt", content: bytes = b"Some words.") -> UUID:
        answer = await self.upload((name, content, "text/plain"))
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["documents"][0]["id"])

    async def document(self, document: UUID) -> dict[str, Any]:
        answer = await self.http.get(f"/api/docs/{document}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@dataclass
class Gateway:
    """One gateway, and doors to what lies behind it."""

    app: FastAPI
    settings: GatewaySettings
    sessions: Sessions
    store: LocalFiles
    behind: Behind
    people: Callable[[UUID | None], Person]

    async def hear(self, *facts: Fact) -> None:
        """Each fact in a transaction of its own, as a subscriber hears it."""
        for fact in facts:
            await self.hear_together(fact)

    async def hear_together(self, *facts: Fact) -> None:
        """Facts of one kind of handler, in one transaction."""
        (subscription,) = (each for each in subscriptions(Outbox("gateway")) if type(facts[0]) in each.handlers)
        handler = subscription.handlers[type(facts[0])]
        async with self.sessions.begin() as session:
            locked = await fences.lock_many(session, [fact.subject for fact in facts])
            if isinstance(handler, Together):
                await handler.note(session, facts)
            else:
                for fact in facts:
                    await handler(session, locked[fact.subject], fact)

    async def said(self, kind: type[Fact] | None = None) -> list[Any]:
        """What the gateway has said, in order."""
        async with self.sessions() as session:
            rows = await session.scalars(select(OutboxRow).order_by(OutboxRow.id))
            facts = [Envelope.parse(row.body).fact() for row in rows]
        return [fact for fact in facts if kind is None or isinstance(fact, kind)]

    async def work(self, *works: Work) -> int:
        """Do every waiting job of these kinds once, whenever it is due; how many there were."""
        done = 0
        for work in works:
            async with self.sessions() as session:
                rows = await session.scalars(
                    select(JobRow).where(JobRow.kind == work.kind, JobRow.state == "waiting").order_by(JobRow.part)
                )
                jobs = [_job(row) for row in rows]
            for job in jobs:
                finish = await work.run(job)
                async with self.sessions.begin() as session:
                    await finish(session, await fences.lock(session, job.subject))
                    row = await session.get_one(JobRow, (job.subject, job.version, job.kind, job.part))
                    row.state = "done"
            done += len(jobs)
        return done

    async def objects(self, prefix: str = "users/") -> list[str]:
        return sorted([found.key async for found in self.store.list(prefix)])

    async def becomes_ready(self, owner: UUID, document: UUID, version: int = 1) -> None:
        await self.hear(*a_life(owner, document, version))

    async def is_erased_elsewhere(self, owner: UUID, document: UUID, deletion: UUID, **changes: Any) -> None:
        for service in ("ingest", "embedder", "qa"):
            await self.hear(purged(owner, document, deletion, service=service, **changes))


def a_life(owner: UUID, document: UUID, version: int = 1) -> list[DocumentFact]:
    ids: dict[str, Any] = {"owner_id": owner, "document_id": document, "version": version}
    counts: dict[str, Any] = {"chunk_count": 3, "pages": 2}
    return [
        DocumentChunked(**ids, **counts, chunks_sha256=A_HASH, attempt=1),
        DocumentEmbedded(**ids, **counts, chunks_sha256=A_HASH, indexes=("one",), attempt=1),
        DocumentReady(**ids, **counts, attempt=1),
    ]


def failed(owner: UUID, document: UUID, *, retryable: bool = True, version: int = 1) -> DocumentFailed:
    return DocumentFailed(
        document_id=document,
        owner_id=owner,
        version=version,
        attempt=1,
        stage="ingest",
        code="parse.timeout",
        detail="It took too long.",
        retryable=retryable,
    )


def purged(owner: UUID, document: UUID, deletion: UUID, *, service: Any = "qa", **changes: Any) -> DocumentPurged:
    told = {"version": 1, "attempt": 1, "erased": 3, "remaining": 0, **changes}
    return DocumentPurged(document_id=document, owner_id=owner, deletion_id=deletion, service=service, **told)


def _job(row: JobRow) -> Job:
    return Job(
        kind=row.kind,
        subject=row.subject,
        version=row.version,
        part=row.part,
        owner=row.owner,
        attempt=row.attempt + 1,
        tries=0,
        crashes=0,
        payload=row.payload,
        traceparent=None,
    )


class _Server(uvicorn.Server):
    """Says when it listens, ends as soon as it is told, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()
        self.ends = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    async def main_loop(self) -> None:
        await self.ends.wait()


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The app on a real socket, without its lifespan; gives its address."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    server = _Server(config)
    task = asyncio.create_task(server._serve())
    await server.listens.wait()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.ends.set()
        await task

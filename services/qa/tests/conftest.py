"""Qa on a real database and a real Chroma, behind a real socket, with models that do as a test tells them."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import chromadb
import httpx
import numpy as np
import pytest
import uvicorn
from chassis.database import Sessions, create_engine, create_sessions
from chassis.ids import uuid7
from chassis.local_files import LocalFiles
from chassis.transactions import Transactions
from chromadb.api import ClientAPI
from chromadb.api.models.Collection import Collection
from contracts.chunks_file import Chunk, encode
from contracts.envelope import Envelope
from contracts.facts import DocumentEmbedded, Fact, IndexActivated
from contracts.index import DOCUMENT, OWNER, VERSION, chunk_id, collection_name, shard_of
from contracts.objects import chunks_key
from messaging import fences
from messaging.delivery import Delivery
from messaging.outbox import Outbox
from messaging.subscribing import Together
from messaging.tables import JobRow, OutboxRow
from messaging.working import Worker
from models.chat import Delta, Message, Usage
from numpy.typing import NDArray
from qa.main import create_app, stage_of, works
from qa.settings import QaSettings
from qa.statements import Statements
from qa.subscribers import Subscribers
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

DIMENSION = 256
SHARDS = 3


class WordVectors:
    """A vector of which words a text has: texts that share words are near each other. As fast as arithmetic."""

    name = "local"
    dimension = DIMENSION
    evidence_floor = 0.35

    def __init__(self) -> None:
        self.loaded = False
        self.failure: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked: list[str] = []

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([vector_of(text) for text in texts])

    async def embed_question(self, question: str) -> NDArray[np.float32]:
        self.asked.append(question)
        await self.answers.wait()
        if self.failure is not None:
            raise self.failure
        return vector_of(question)

    async def load(self) -> None:
        self.loaded = True

    async def close(self) -> None:
        pass


_SILENT_WORDS = "a an and are at for how in is it of on or the to what when where which who does do"
_SILENT = frozenset(_SILENT_WORDS.split())


def vector_of(text: str) -> NDArray[np.float32]:
    vector = np.full(DIMENSION, 1e-3, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        if word not in _SILENT:
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % DIMENSION] += 1
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


class ScriptedChat:
    """Says what it was told to say, and remembers what it was asked."""

    name = "scripted"

    def __init__(self) -> None:
        self.pieces: list[Delta | Usage | Exception | asyncio.Event] = []
        self.asked: list[Sequence[Message]] = []
        self.passages: list[Sequence[str]] = []
        self.loaded = False
        self.closed = 0
        self.spoke = asyncio.Event()

    def will_say(self, *pieces: "str | Usage | Exception | asyncio.Event") -> None:
        """Texts, what was counted, trouble to raise, and events to wait for, in this order."""
        self.pieces = [Delta(piece) if isinstance(piece, str) else piece for piece in pieces]

    async def stream(
        self, messages: Sequence[Message], *, question: str, passages: Sequence[str]
    ) -> AsyncGenerator[Delta | Usage, None]:
        self.asked.append(messages)
        self.passages.append(passages)
        try:
            for piece in self.pieces or [Delta("It says so [1].")]:
                self.spoke.set()
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                else:
                    yield piece
        finally:
            self.closed += 1

    async def load(self) -> None:
        self.loaded = True

    async def close(self) -> None:
        pass


@dataclass
class Service:
    """Qa as its tests see it: what it hears, what it does, what it says, and its front door."""

    settings: QaSettings
    engine: AsyncEngine
    sessions: Sessions
    transactions: Transactions
    statements: Statements
    store: LocalFiles
    chroma: ClientAPI
    index_id: str
    chat: ScriptedChat
    embeddings: WordVectors
    token_for: Callable[[UUID], str]
    verifier: Any
    workers: dict[str, Worker] = field(default_factory=dict)

    async def hear(self, fact: Fact) -> None:
        """One handler's transaction, as delivery runs it."""
        subscriptions = Subscribers(stage_of(Outbox("qa"))).subscriptions()
        (heard,) = (each for each in subscriptions if type(fact) in each.handlers)
        if heard.passes_by(fact):
            return
        async with self.sessions.begin() as session:
            handler = heard.handlers[type(fact)]
            assert not isinstance(handler, Together)
            await handler(session, await fences.lock(session, fact.subject), fact)

    async def work(self, *kinds: str) -> None:
        """Do all jobs that are due, of these kinds or of all."""
        all_works = works(self.settings, self.sessions, self.transactions, stage_of(Outbox("qa")))
        doing = [work for work in all_works if not kinds or work.kind in kinds]
        workers = [Worker(work, self.transactions) for work in doing]
        tasks = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            async with asyncio.timeout(20):
                for worker in workers:
                    worker.wake()
                while await self.due(kinds):  # noqa: ASYNC110 - what is waited for is in the database
                    await asyncio.sleep(0.005)
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.gather(*tasks)

    async def due(self, kinds: Sequence[str] = ()) -> int:
        query = select(func.count()).where(
            JobRow.state.in_(("waiting", "running")), JobRow.available_at <= func.clock_timestamp()
        )
        async with self.sessions() as session:
            return await session.scalar(query.where(JobRow.kind.in_(kinds)) if kinds else query) or 0

    async def said(self, type_: type[Fact] | None = None) -> list[Any]:
        """The facts said so far, in order."""
        async with self.sessions() as session:
            bodies = (await session.scalars(select(OutboxRow.body).order_by(OutboxRow.id))).all()
        facts = [Envelope.parse(body).fact() for body in bodies]
        return [fact for fact in facts if type_ is None or isinstance(fact, type_)]

    async def embed(
        self, owner: UUID, texts: Sequence[str], *, document: UUID | None = None, version: int = 1, **others: Any
    ) -> DocumentEmbedded:
        """What ingest and embedder leave behind: a chunks file, and vectors. Gives the fact that says so."""
        document = document or uuid7()
        encoded = encode(chunks_of(texts), filename=others.pop("filename", "pump.pdf"), pages=len(texts))
        await self.store.put(chunks_key(owner, document, version, 1), pieces(encoded.content))
        self.plant(owner, document, texts, version=version)
        fact = DocumentEmbedded(
            document_id=document,
            owner_id=owner,
            version=version,
            attempt=1,
            chunk_count=len(texts),
            pages=len(texts),
            chunks_sha256=encoded.sha256,
            indexes=(self.index_id,),
        )
        return fact.model_copy(update=others)

    def plant(
        self,
        owner: UUID,
        document: UUID,
        texts: Sequence[str],
        *,
        version: int = 1,
        in_shard_of: UUID | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        """Vectors in the index, true or not."""
        if not texts:
            return
        self.shard(in_shard_of or owner).upsert(
            ids=list(ids or [chunk_id(document, version, ordinal) for ordinal in range(len(texts))]),
            embeddings=np.stack([vector_of(text) for text in texts]),
            metadatas=[{OWNER: str(owner), DOCUMENT: str(document), VERSION: version}] * len(texts),
        )

    def shard(self, owner: UUID) -> Collection:
        name = collection_name(self.index_id, shard_of(owner, SHARDS))
        return self.chroma.get_collection(name, embedding_function=None)

    async def add(self, owner: UUID, *texts: str, **others: Any) -> UUID:
        """A document that answers, one page a text."""
        fact = await self.embed(owner, texts, **others)
        await self.hear(fact)
        await self.work("index_passages")
        return fact.document_id

    def app(self, **others: Any) -> Any:
        """Another replica."""
        app = create_app(
            self.settings.model_copy(update=others.pop("settings", {})),
            chat=others.pop("chat", self.chat),
            open_model=others.pop("open_model", lambda name, dimension: self.embeddings),
            deliver=lambda settings, engine, sessions, _: Delivery("qa", settings, engine, sessions=sessions),
        )
        app.state.verifier = self.verifier
        return app


@dataclass
class Person:
    """Somebody with a token, at the front door."""

    id: UUID
    http: httpx.AsyncClient

    async def ask(self, question: str, **others: Any) -> httpx.Response:
        headers = others.pop("headers", None)
        return await self.http.post("/api/ask", json={"question": question, **others}, headers=headers)

    async def answer(self, question: str, **others: Any) -> dict[str, Any]:
        response = await self.ask(question, **others)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    @asynccontextmanager
    async def listening(self, question: str, **others: Any) -> AsyncIterator["Listening"]:
        """A streamed answer."""
        headers = {"Accept": "text/event-stream", **others.pop("headers", {})}
        body = {"question": question, **others}
        async with self.http.stream("POST", "/api/ask", json=body, headers=headers) as response:
            yield Listening(response, response.aiter_lines())

    async def events(self, question: str, **others: Any) -> list[tuple[str, Any]]:
        async with self.listening(question, **others) as listening:
            return [event async for event in listening]

    async def chat(self, chat: str, **others: Any) -> dict[str, Any]:
        response = await self.http.get(f"/api/chats/{chat}", **others)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


@dataclass
class Listening:
    """Server-sent events, one by one."""

    response: httpx.Response
    lines: AsyncIterator[str]

    def __aiter__(self) -> AsyncIterator[tuple[str, Any]]:
        return self._events()

    async def next(self) -> tuple[str, Any]:
        return await anext(self._events())

    async def _events(self) -> AsyncIterator[tuple[str, Any]]:
        import json

        name = ""
        async for line in self.lines:
            if line.startswith(":"):
                yield "comment", line
            elif line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


class NewPerson(Protocol):
    def __call__(self, user: UUID | None = None, *, at: str | None = None) -> Person: ...


def chunks_of(texts: Sequence[str]) -> list[Chunk]:
    return [
        Chunk(
            ordinal=ordinal,
            page=ordinal + 1,
            start=0,
            end=len(text),
            text=text,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
        for ordinal, text in enumerate(texts)
    ]


async def pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


@pytest.fixture
async def service(
    database: Any, chroma: str, object_store: LocalFiles, token_for: Any, keys: Any, tmp_path: Path
) -> AsyncIterator[Service]:
    settings = QaSettings(
        port=0,
        database_url=await database("qa"),
        kafka="127.0.0.1:9",  # facts are handed over by hand: see `Service.hear`
        auth_url="http://127.0.0.1:9",
        object_store=f"file://{tmp_path / 'objects'}",
        chroma_url=chroma,
        answers_grace=1,
    )
    engine = create_engine(settings)
    sessions = create_sessions(engine)
    transactions = Transactions(engine, sessions)
    client = chromadb.HttpClient(
        host=chroma.split("//")[1].split(":", maxsplit=1)[0], port=int(chroma.rsplit(":", 1)[1])
    )
    made = Service(
        settings=settings,
        engine=engine,
        sessions=sessions,
        transactions=transactions,
        statements=Statements(transactions),
        store=object_store,
        chroma=client,
        index_id=f"index-{uuid7().hex}",
        chat=ScriptedChat(),
        embeddings=WordVectors(),
        token_for=token_for,
        verifier=keys.verifier,
    )
    for shard in range(SHARDS):
        client.create_collection(
            collection_name(made.index_id, shard), embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
    await made.hear(
        IndexActivated(index_id=made.index_id, generation=1, model="local", dimension=DIMENSION, shards=SHARDS)
    )
    yield made
    await made.statements.close()
    await engine.dispose()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The app behind a socket; gives its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, lifespan="on", log_config=None, timeout_graceful_shutdown=2, ws="none")
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the app did not start"
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    app.state.stopping.set()
    server.should_exit = True
    await task


@pytest.fixture
async def address(service: Service) -> AsyncIterator[str]:
    async with serving(service.app()) as url:
        yield url


@pytest.fixture
async def person(service: Service, address: str) -> AsyncIterator[NewPerson]:
    clients: list[httpx.AsyncClient] = []

    def new(user: UUID | None = None, *, at: str | None = None) -> Person:
        user = user or uuid7()
        headers = {"Authorization": f"Bearer {service.token_for(user)}"}
        client = httpx.AsyncClient(base_url=at or address, headers=headers, timeout=90, trust_env=False)
        clients.append(client)
        return Person(user, client)

    yield new
    for client in clients:
        await client.aclose()


@pytest.fixture
def ada(person: NewPerson) -> Person:
    return person()


@pytest.fixture
def replica_app(service: Service) -> Callable[[], Any]:
    """`async with replica_app() as url`: another process of the same service, as far as one can be had here."""
    return lambda: serving(service.app())


@pytest.fixture
async def replica(replica_app: Callable[[], Any]) -> AsyncIterator[str]:
    async with replica_app() as url:
        yield url

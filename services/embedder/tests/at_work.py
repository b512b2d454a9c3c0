"""The embedder on a real database, object store, Chroma and provider protocol; facts are handed to its handlers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar
from uuid import UUID, uuid4

import numpy as np
from chassis.chroma import Chroma
from chassis.database import create_sessions
from chassis.objects import ObjectStore
from chassis.transactions import Transactions
from contracts.chunks_file import Chunk, encode
from contracts.envelope import Envelope
from contracts.facts import DocumentChunked, DocumentDeleted, DocumentFailed, DocumentReady, Fact
from contracts.index import collection_name, shard_of
from contracts.objects import chunks_key
from embedder import indexes
from embedder.indexes import IndexSpec
from embedder.main import Parts
from embedder.settings import EmbedderSettings
from embedder.subscribers import Subscribers
from embedder.tables import DocumentEmbedding, EmbeddingRun
from messaging import taking
from messaging.handling import Handling
from messaging.records import Record
from messaging.tables import FenceRow, JobRow, OutboxRow
from messaging.workers import Work
from messaging.working import Worker, workers_of
from numpy.typing import NDArray
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.slow_workers import SlowWorker
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub

FactT = TypeVar("FactT", bound=Fact)


@dataclass(frozen=True)
class Document:
    """A document as ingest has split it."""

    texts: Sequence[str]
    id: UUID = field(default_factory=uuid4)
    owner: UUID = field(default_factory=uuid4)

    @property
    def content(self) -> bytes:
        chunks = [
            Chunk(
                ordinal=ordinal,
                page=ordinal // 3 + 1,
                start=0,
                end=len(text),
                text=text,
                sha256=sha256(text.encode()).hexdigest(),
            )
            for ordinal, text in enumerate(self.texts)
        ]
        return encode(chunks, filename="a.pdf", pages=len(self.texts) // 3 + 1).content

    def chunked(self, *, version: int = 1, asked: int = 0, attempt: int = 1) -> DocumentChunked:
        return DocumentChunked(
            document_id=self.id,
            owner_id=self.owner,
            version=version,
            round=asked,
            attempt=attempt,
            chunk_count=len(self.texts),
            pages=len(self.texts) // 3 + 1,
            chunks_sha256=sha256(self.content).hexdigest(),
        )

    def ready(self, version: int = 1) -> DocumentReady:
        return DocumentReady(document_id=self.id, owner_id=self.owner, version=version, chunk_count=1, pages=1)

    def failed(self, version: int = 1) -> DocumentFailed:
        return DocumentFailed(
            document_id=self.id,
            owner_id=self.owner,
            version=version,
            stage="qa",
            code="processing.crashed",
            detail="It crashed.",
            retryable=True,
        )

    def deleted(self, *, version: int = 1, asked: int = 0) -> DocumentDeleted:
        return DocumentDeleted(
            document_id=self.id, owner_id=self.owner, version=version, round=asked, deletion_id=UUID(int=7)
        )


def a_document(chunks: int = 3, **fields: UUID) -> Document:
    tag = uuid4().hex[:6]
    return Document([f"chunk {number} of {tag} about herons" for number in range(chunks)], **fields)


class AtWork:
    """The embedder with its handlers and its workers."""

    def __init__(self, settings: EmbedderSettings, engine: AsyncEngine, store: ObjectStore) -> None:
        self.settings = settings
        self.engine = engine
        self.sessions = sessions = create_sessions(engine)
        self.transactions = Transactions(engine, sessions)
        self.store = store
        self.parts = Parts.of(settings, sessions, self.transactions, store)
        self.chroma: Chroma = self.parts.chroma
        (subscription,) = Subscribers(self.parts.stage).subscriptions()
        self.works: dict[str, Work] = {work.kind: work for work in self.parts.works()}
        self.workers: list[Worker] = []
        self._handling = Handling(subscription, self.transactions, workers=self.workers)
        self._offset = 0

    def work(self, kind: str) -> Work:
        return self.works[kind]

    @asynccontextmanager
    async def working(self, *kinds: str) -> AsyncIterator[None]:
        """Have jobs of these kinds done, or of all."""
        for kind in kinds or self.works:
            self.workers += workers_of(self.works[kind], self.transactions, self._wake)
        running = [asyncio.create_task(worker.run()) for worker in self.workers]
        pulse = asyncio.create_task(self._pulse())
        try:
            yield
        finally:
            pulse.cancel()
            for worker in self.workers:
                worker.stop()
            await asyncio.wait(running)
            self.workers.clear()

    async def split(self, document: Document, *, version: int = 1, attempt: int = 1) -> None:
        """Store the chunks file, as ingest would."""

        async def pieces() -> AsyncIterator[bytes]:
            yield document.content

        await self.store.put(chunks_key(document.owner, document.id, version, attempt), pieces())

    async def hear(self, *facts: Fact) -> None:
        """What another service said; each is one record."""
        for fact in facts:
            body = Envelope.wrap(fact, event_id=uuid4(), source="test", time=datetime.now(UTC)).to_bytes()
            self._offset += 1
            record = Record(fact.topic.name, 0, self._offset, key=fact.subject.encode(), value=body)
            await self._handling.handle(record)
            for worker in self.workers:
                worker.look_at_fences(fact.subject)

    async def embed(self, document: Document, *, version: int = 1) -> None:
        """Split it, hear of it, and have it embedded."""
        await self.split(document, version=version)
        await self.hear(document.chunked(version=version))
        async with self.working("embed"):
            await self.settled()

    async def purge(self, document: Document, *, version: int = 1, asked: int = 0) -> None:
        """Have it deleted, and erased here."""
        await self.hear(document.deleted(version=version, asked=asked))
        async with self.working("purge", "embed", "drop"):
            await self.settled()

    async def drop_retired(self) -> None:
        async with self.sessions() as session:
            await self.parts.keeper.drop_retired(session)
            await session.commit()

    async def settled(self, within: float = 60) -> None:
        """Wait until nothing is being done and nothing is due."""
        async with asyncio.timeout(within):
            while await self._busy():  # noqa: ASYNC110 - it is a table that is watched
                await asyncio.sleep(0.01)

    async def make_due(self, kind: str, part: int | None = None) -> None:
        """Let the time come for the jobs of this kind."""
        where = [JobRow.kind == kind, JobRow.state == "waiting"]
        if part is not None:
            where.append(JobRow.part == part)
        async with self.sessions.begin() as session:
            await session.execute(update(JobRow).where(*where).values(available_at=func.now()))
        self._wake(kind)

    async def put_off(self, document: Document, kind: str) -> None:
        """Let the document's jobs of this kind be due in an hour."""
        where = (JobRow.kind == kind, JobRow.subject == str(document.id), JobRow.state == "waiting")
        async with self.sessions.begin() as session:
            later = func.now() + timedelta(hours=1)
            await session.execute(update(JobRow).where(*where).values(available_at=later))

    async def said(self, kind: type[FactT]) -> list[FactT]:
        """What the embedder has said of this kind, in order."""
        async with self.sessions() as session:
            rows = await session.scalars(select(OutboxRow).order_by(OutboxRow.id))
            facts = [Envelope.parse(row.body).fact() for row in rows]
        return [fact for fact in facts if isinstance(fact, kind)]

    async def indexes(self) -> dict[str, IndexSpec]:
        """By state; the newest of each."""
        async with self.sessions() as session:
            return {index.state: index for index in reversed(await indexes.existing(session))}

    async def active(self) -> IndexSpec:
        return (await self.indexes())["active"]

    async def jobs(self, document: Document, kind: str) -> list[JobRow]:
        async with self.sessions() as session:
            rows = select(JobRow).where(JobRow.subject == str(document.id), JobRow.kind == kind).order_by(JobRow.part)
            return list(await session.scalars(rows))

    async def fence(self, document: Document) -> FenceRow:
        async with self.sessions() as session:
            return await session.get_one(FenceRow, str(document.id))

    async def runs(self, document: Document) -> list[EmbeddingRun]:
        async with self.sessions() as session:
            rows = select(EmbeddingRun).where(EmbeddingRun.document_id == document.id).order_by(EmbeddingRun.version)
            return list(await session.scalars(rows))

    async def rows(self, document: Document, *, index: IndexSpec | None = None) -> dict[str, NDArray[np.float32]]:
        """The vectors kept of a document, by embedding id; of the active index unless told."""
        index_id = (index or await self.active()).index_id
        async with self.sessions() as session:
            rows = await session.scalars(
                select(DocumentEmbedding).where(
                    DocumentEmbedding.document_id == document.id, DocumentEmbedding.index_id == index_id
                )
            )
            return {row.embedding_id: np.frombuffer(row.vector, "<f4") for row in rows}

    async def vectors(self, document: Document, *, index: IndexSpec | None = None) -> set[str]:
        """The ids of the document's vectors in Chroma."""
        there = index or await self.active()
        name = collection_name(there.index_id, shard_of(document.owner, there.shards))
        return set(await self.chroma.ids(name, {"document": str(document.id)}))

    async def nothing_is_left(self, document: Document) -> bool:
        async with self.sessions() as session:
            known = await indexes.existing(session)
        left = [await self.vectors(document, index=index) or await self.rows(document, index=index) for index in known]
        return not any(left) and not await self.runs(document)

    async def close(self) -> None:
        await self.parts.close()
        await self.transactions.close()

    def _wake(self, kind: str) -> None:
        for worker in self.workers:
            if worker.kind == kind:
                worker.wake()

    async def _pulse(self) -> None:
        while True:
            async with self.transactions.driver() as driver:
                _, due = await taking.pulse(driver, self._kinds())
                for kind in due:
                    self._wake(kind)
            await asyncio.sleep(0.1)

    async def _busy(self) -> bool:
        due = (JobRow.state == "running") | ((JobRow.state == "waiting") & (JobRow.available_at <= func.now()))
        async with self.sessions() as session:
            return bool(
                await session.scalar(select(select(JobRow).where(due, JobRow.kind.in_(self._kinds())).exists()))
            )

    def _kinds(self) -> list[str]:
        return sorted({worker.kind for worker in self.workers})


class Slow(SlowWorker):
    usual = "embed"

    @asynccontextmanager
    async def asking(self, provider: OpenAIStub) -> AsyncIterator[None]:
        """Have it wait for its provider during the block, and write after it."""
        before, hold = provider.embeddings.seen.calls, threading.Event()
        provider.embeddings.then(Behaviour(hold=hold))
        writing = asyncio.create_task(self.write())
        try:
            async with asyncio.timeout(60):
                while provider.embeddings.seen.calls == before:  # noqa: ASYNC110 - it counts in another thread
                    await asyncio.sleep(0.005)
            yield
        finally:
            hold.set()
            await writing

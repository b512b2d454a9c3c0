"""Ingest on a real database and a real object store, without a broker: facts are handed to its handlers one by one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar
from uuid import UUID, uuid4

from chassis.database import Sessions
from chassis.objects import ObjectStore
from contracts.chunks_file import Chunk, parse_chunks
from contracts.envelope import Envelope
from contracts.facts import (
    DocumentDeleted,
    DocumentFailed,
    DocumentReady,
    DocumentUploaded,
    Fact,
)
from contracts.objects import About, about_key, chunks_key, document_prefix, raw_key
from ingest.main import works
from ingest.readers import Readers
from ingest.settings import IngestSettings
from ingest.subscribers import Subscribers
from ingest.tables import DocumentChunk, SplitVersion
from messaging import finishing, taking
from messaging.handling import Handling
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.records import Record
from messaging.tables import FenceRow, JobRow, OutboxRow
from messaging.working import Worker
from messaging.workers import Work
from sqlalchemy import func, select, update

FactT = TypeVar("FactT", bound=Fact)


@dataclass(frozen=True)
class Document:
    """A document as the gateway has stored it."""

    raw: bytes
    media_type: str = "application/pdf"
    filename: str = "a.pdf"
    id: UUID = field(default_factory=uuid4)
    owner: UUID = field(default_factory=uuid4)

    @property
    def digest(self) -> str:
        return sha256(self.raw).hexdigest()

    def uploaded(self, *, version: int = 1, round: int = 0) -> DocumentUploaded:
        return DocumentUploaded(
            document_id=self.id,
            owner_id=self.owner,
            version=version,
            round=round,
            media_type=self.media_type,
            size_bytes=len(self.raw),
            sha256=self.digest,
        )

    def ready(self, version: int = 1) -> DocumentReady:
        return DocumentReady(document_id=self.id, owner_id=self.owner, version=version, chunk_count=1, pages=1)

    def failed(self, version: int = 1, *, stage: str = "embedder") -> DocumentFailed:
        return DocumentFailed(
            document_id=self.id,
            owner_id=self.owner,
            version=version,
            stage=stage,  # type: ignore[arg-type]
            code="provider.unavailable",
            detail="The provider is away.",
            retryable=True,
        )

    def deleted(self, *, version: int = 1, round: int = 0, deletion: UUID = UUID(int=7)) -> DocumentDeleted:
        return DocumentDeleted(
            document_id=self.id, owner_id=self.owner, version=version, round=round, deletion_id=deletion
        )


class AtWork:
    """Ingest with its handlers and its workers."""

    def __init__(self, settings: IngestSettings, sessions: Sessions, store: ObjectStore, readers: Readers) -> None:
        self.settings = settings
        self.sessions = sessions
        self.store = store
        self.readers = readers
        outbox = Outbox("ingest")
        (subscription,) = Subscribers(outbox).subscriptions()
        self._handling = Handling(subscription, sessions, wake=self._wake)
        self.works: dict[str, Work] = {
            work.kind: work for work in works(settings, sessions, store=store, readers=readers, outbox=outbox)
        }
        self.workers: dict[str, Worker] = {}
        self._offset = 0

    @asynccontextmanager
    async def working(self, *kinds: str) -> AsyncIterator[None]:
        """Have jobs of these kinds done, or of all."""
        self.workers = {kind: Worker(self.works[kind], self.sessions, self._wake) for kind in kinds or self.works}
        running = [asyncio.create_task(worker.run()) for worker in self.workers.values()]
        pulse = asyncio.create_task(self._pulse())
        try:
            yield
        finally:
            pulse.cancel()
            for worker in self.workers.values():
                worker.stop()
            await asyncio.wait(running)
            self.workers = {}

    async def store_upload(self, document: Document) -> None:
        about = About(
            filename=document.filename,
            media_type=document.media_type,
            size_bytes=len(document.raw),
            sha256=document.digest,
        )
        await self.put(raw_key(document.owner, document.id), document.raw)
        await self.put(about_key(document.owner, document.id), about.model_dump_json().encode())

    async def put(self, key: str, content: bytes) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield content

        await self.store.put(key, pieces())

    async def hear(self, *facts: Fact) -> None:
        """What the gateway, the embedder or qa said; each is one record."""
        for fact in facts:
            body = Envelope.wrap(fact, event_id=uuid4(), source="test", time=datetime.now(UTC)).to_bytes()
            self._offset += 1
            record = Record(fact.topic.name, 0, self._offset, key=fact.subject.encode(), value=body)
            await self._handling.handle(record)
            for worker in self.workers.values():
                worker.look_at_fences(fact.subject)

    async def upload(self, document: Document, *, version: int = 1) -> None:
        """Store it, hear of it, and have it read."""
        await self.store_upload(document)
        await self.hear(document.uploaded(version=version))
        async with self.working():
            await self.settled()

    async def settled(self, within: float = 20) -> None:
        """Wait until nothing is being done and nothing is due."""
        async with asyncio.timeout(within):
            while await self._busy():
                await asyncio.sleep(0.01)

    async def make_due(self, kind: str, part: int | None = None) -> None:
        """Let the time come for the jobs of this kind."""
        where = [JobRow.kind == kind, JobRow.state == "waiting"]
        if part is not None:
            where.append(JobRow.part == part)
        async with self.sessions.begin() as session:
            await session.execute(update(JobRow).where(*where).values(available_at=func.now()))
        self._wake(kind)

    async def said(self, kind: type[FactT]) -> list[FactT]:
        """What ingest has said of this kind, in order."""
        return [fact for fact in await self.all_said() if isinstance(fact, kind)]

    async def all_said(self) -> list[Fact]:
        async with self.sessions() as session:
            rows = await session.scalars(select(OutboxRow).order_by(OutboxRow.id))
            return [Envelope.parse(row.body).fact() for row in rows]

    async def job(self, document: Document, kind: str = "parse", *, version: int = 1, part: int = 0) -> JobRow:
        async with self.sessions() as session:
            return await session.get_one(JobRow, (str(document.id), version, kind, part))

    async def jobs(self, document: Document) -> list[JobRow]:
        async with self.sessions() as session:
            return list(await session.scalars(select(JobRow).where(JobRow.subject == str(document.id))))

    async def fence(self, document: Document) -> FenceRow:
        async with self.sessions() as session:
            return await session.get_one(FenceRow, str(document.id))

    async def splits(self, document: Document) -> list[SplitVersion]:
        async with self.sessions() as session:
            rows = select(SplitVersion).where(SplitVersion.document_id == document.id).order_by(SplitVersion.version)
            return list(await session.scalars(rows))

    async def rows(self, document: Document, version: int = 1) -> Sequence[DocumentChunk]:
        async with self.sessions() as session:
            rows = await session.scalars(
                select(DocumentChunk)
                .where(DocumentChunk.document_id == document.id, DocumentChunk.version == version)
                .order_by(DocumentChunk.ordinal)
            )
            return rows.all()

    async def objects(self, document: Document) -> set[str]:
        """What lies in the store of the document, beside what the gateway has put there."""
        prefix = document_prefix(document.owner, document.id)
        found = {stored.key.removeprefix(prefix) async for stored in self.store.list(prefix)}
        return found - {"raw", "about.json"}

    async def chunks(self, document: Document, *, version: int = 1, attempt: int = 1) -> list[Chunk]:
        key = chunks_key(document.owner, document.id, version, attempt)
        content = b"".join([piece async for piece in self.store.open(key)])
        _, lines = content.split(b"\n", 1)
        return parse_chunks(lines)

    def _wake(self, kind: str) -> None:
        if kind in self.workers:
            self.workers[kind].wake()

    async def _pulse(self) -> None:
        while True:
            async with self.sessions.begin() as session:
                for kind in await taking.pulse(session, list(self.workers)):
                    self._wake(kind)
            await asyncio.sleep(0.1)

    async def _busy(self) -> bool:
        due = (JobRow.state == "running") | ((JobRow.state == "waiting") & (JobRow.available_at <= func.now()))
        async with self.sessions() as session:
            return bool(await session.scalar(select(select(JobRow).where(due, JobRow.kind.in_(self.workers)).exists())))


@dataclass
class Zombie:
    """A worker that has taken a job and does not know that its lease has run out."""

    at_work: AtWork
    job: Job
    finish: finishing.Act | None = None

    @classmethod
    async def take(cls, at_work: AtWork) -> "Zombie":
        work = at_work.works["parse"]
        async with at_work.sessions.begin() as session:
            (taken,), _ = await taking.take(session, kind="parse", lease=work.lease, most=1, with_fence=True)
        return cls(at_work, taken.job)

    async def lose_lease(self) -> None:
        async with self.at_work.sessions.begin() as session:
            past = func.now() - timedelta(seconds=1)
            await session.execute(update(JobRow).where(JobRow.kind == "parse").values(lease_until=past))
            await taking.pulse(session, ["parse"])

    async def write(self) -> None:
        """Read the document and store its chunks file."""
        self.finish = await self.at_work.works["parse"].run(self.job)

    async def conclude(self) -> finishing.Ending:
        """Try the final transaction, and clear up as the harness does."""
        assert self.finish is not None
        work = self.at_work.works["parse"]
        ended = await finishing.end(
            self.at_work.sessions, self.job, state="done", act=self.finish, heeds_fence=work.heeds_fence
        )
        if ended.ending in (finishing.Ending.LOST, finishing.Ending.LOST_AND_LATE):
            await work.lost(self.job)
        if ended.ending in (finishing.Ending.LATE, finishing.Ending.LOST_AND_LATE):
            await work.erase_late(self.job)
        return ended.ending

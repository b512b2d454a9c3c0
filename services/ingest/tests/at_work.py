"""Ingest on a real database and a real object store; facts are handed to its handlers one by one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar
from uuid import UUID, uuid4

from chassis.database import create_sessions
from chassis.fork_client import Ended
from chassis.local_files import LocalFiles
from contracts.chunks_file import Chunk, parse_chunks
from contracts.envelope import Envelope
from contracts.facts import (
    DocumentDeleted,
    DocumentFailed,
    DocumentReady,
    DocumentUploaded,
    Fact,
    Stage,
)
from contracts.objects import About, about_key, chunks_key, document_prefix, raw_key
from ingest.extracting import extract
from ingest.extraction import Extraction
from ingest.main import stage_of, works
from ingest.readers import Readers
from ingest.reading import Engine
from ingest.settings import IngestSettings
from ingest.subscribers import Subscribers
from ingest.tables import DocumentChunk, SplitVersion
from messaging import fences
from messaging.delivery import Delivery
from messaging.outbox import Outbox
from messaging.tables import FenceRow, JobRow, OutboxRow
from messaging.workers import Work
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.tests.waiting import until
from tests.slow_workers import SlowWorker

DELETION = UUID(int=7)

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

    def uploaded(self, *, version: int = 1, asked: int = 0) -> DocumentUploaded:
        return DocumentUploaded(
            document_id=self.id,
            owner_id=self.owner,
            version=version,
            round=asked,
            media_type=self.media_type,
            size_bytes=len(self.raw),
            sha256=self.digest,
        )

    def ready(self, version: int = 1) -> DocumentReady:
        return DocumentReady(document_id=self.id, owner_id=self.owner, version=version, chunk_count=1, pages=1)

    def failed(self, version: int = 1, *, stage: Stage = "embedder") -> DocumentFailed:
        return DocumentFailed(
            document_id=self.id,
            owner_id=self.owner,
            version=version,
            stage=stage,
            code="provider.unavailable",
            detail="The provider is away.",
            retryable=True,
        )

    def deleted(self, *, version: int = 1, asked: int = 0) -> DocumentDeleted:
        return DocumentDeleted(
            document_id=self.id, owner_id=self.owner, version=version, round=asked, deletion_id=DELETION
        )


class ReadersHere(Readers):
    """Reads in this process; what happens between processes is seen elsewhere.

    And in this thread: pdfium must not be used in two, not even by a collection of garbage that closes a document.
    """

    def __init__(self) -> None:
        super().__init__(Engine.PDFIUM)

    async def _read(self, wanted: Extraction) -> Ended:
        extract(wanted)
        return Ended(status=0, peak=0)


class AtWork:
    """Ingest with its handlers and its workers."""

    def __init__(self, settings: IngestSettings, engine: AsyncEngine, store: LocalFiles, readers: Readers) -> None:
        self.settings = settings
        self.engine = engine
        self.sessions = create_sessions(engine)
        self.store = store
        self.readers = readers
        stage = stage_of(Outbox("ingest"), store)
        (subscription,) = Subscribers(stage, settings).subscriptions()
        self._handlers = subscription.handlers
        self._works = works(settings, self.sessions, store=store, readers=readers, stage=stage)
        self._worked: list[str] = []

    def work(self, kind: str) -> Work:
        return next(work for work in self._works if work.kind == kind)

    @asynccontextmanager
    async def working(self, *kinds: str) -> AsyncIterator[None]:
        """Have jobs of these kinds done, or of all."""
        self._worked = list(kinds) or [work.kind for work in self._works]
        delivery = Delivery(
            "ingest",
            self.settings,
            self.engine,
            sessions=self.sessions,
            works=[self.work(kind) for kind in self._worked],
            end=_end,
        )
        async with delivery.running():
            yield

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
        """What the gateway, the embedder or qa said: each in a transaction, with its fence locked."""
        for fact in facts:
            async with self.sessions.begin() as session:
                await self._handlers[type(fact)](session, await fences.lock(session, fact.subject), fact)

    async def upload(self, document: Document, *, version: int = 1) -> None:
        """Store it, hear of it, and have it read."""
        await self.store_upload(document)
        await self.hear(document.uploaded(version=version))
        async with self.working():
            await self.settled()

    async def settled(self, within: float = 30) -> None:
        """Wait until nothing is being done and nothing is due."""
        await until(self._is_settled, within)

    async def has_said(self, kind: type[FactT], within: float = 30) -> None:
        """Wait until ingest has said something of this kind."""
        await until(lambda: self.said(kind), within)

    async def make_due(self, kind: str, part: int | None = None) -> None:
        """Let the time come for the jobs of this kind."""
        where = [JobRow.kind == kind, JobRow.state == "waiting"]
        if part is not None:
            where.append(JobRow.part == part)
        async with self.sessions.begin() as session:
            await session.execute(update(JobRow).where(*where).values(available_at=func.now()))
            await session.execute(select(func.pg_notify("jobs", kind)))

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

    async def _is_settled(self) -> bool:
        due = (JobRow.state == "running") | ((JobRow.state == "waiting") & (JobRow.available_at <= func.now()))
        async with self.sessions() as session:
            due_jobs = select(JobRow).where(due, JobRow.kind.in_(self._worked))
            return not await session.scalar(select(due_jobs.exists()))


def _end(reason: str) -> None:
    """Where the service would end its process, the test run must not."""
    raise AssertionError(reason)


class Zombie(SlowWorker):
    usual = "parse"

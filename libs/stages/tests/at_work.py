"""A stage whose holdings are a memory: numbers of versions, and how much of each is inside and outside."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from chassis.database import Sessions
from contracts.envelope import Envelope
from contracts.facts import (
    DocumentDeleted,
    DocumentEmbedded,
    DocumentFact,
    DocumentFailed,
    DocumentPurged,
    DocumentReady,
    DocumentUploaded,
    Fact,
)
from contracts.facts import Stage as Name
from messaging import fences, jobs
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.tables import JobRow, OutboxRow
from messaging.workers import Finish, Work
from pydantic import JsonValue
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from stages.dropping import Drop
from stages.holdings import Holdings
from stages.purging import Purge, Sweep
from stages.stage import Stage

FactT = TypeVar("FactT", bound=Fact)


class Remembered(Holdings):
    """Holds `inside[version]` and `outside[version]` things of one document."""

    def __init__(self) -> None:
        self.inside: dict[int, int] = {}
        self.outside: dict[int, int] = {}
        self.written_for_others = False
        self.of: UUID | None = None

    async def owner(self, session: AsyncSession, document: UUID) -> UUID | None:
        return self.of

    async def hide(self, session: AsyncSession, document: UUID) -> int:
        return 1

    async def is_written_for_others(self, session: AsyncSession, owner: UUID) -> bool:
        return self.written_for_others

    async def erase_outside(self, owner: UUID, document: UUID) -> int:
        return _empty(self.outside)

    async def erase(self, session: AsyncSession, document: UUID, *, outside: int) -> int:
        return _empty(self.inside) + outside

    async def count(self, session: AsyncSession, document: UUID) -> int:
        return sum(self.inside.values())

    async def erase_late_outside(self, fence: Fence, owner: UUID, document: UUID) -> None:
        self.outside = {number: left for number, left in self.outside.items() if not fence.is_too_late(number)}

    async def erase_late(self, session: AsyncSession, fence: Fence, document: UUID) -> None:
        self.inside = {number: left for number, left in self.inside.items() if not fence.is_too_late(number)}


class AtWork:
    """The embedder's stage, say, and one document on its way."""

    def __init__(self, sessions: Sessions, holdings: Remembered | None = None) -> None:
        self.sessions = sessions
        self.holdings = holdings or Remembered()
        self.stage = Stage(
            name="embedder",
            outbox=Outbox("embedder"),
            holdings=self.holdings,
            makes="embed",
            writes_too=("rebuild",),
        )
        self.drop = Drop(self.stage, sessions)
        self.purge = Purge(self.stage, sessions, concurrency=4)
        self.sweep = Sweep(self.stage, concurrency=2)
        self.document, self.owner, self.deletion = uuid4(), uuid4(), uuid4()

    def uploaded(self, version: int = 1, *, asked: int = 0) -> DocumentUploaded:
        about = {"media_type": "text/plain", "size_bytes": 1, "sha256": "0" * 64}
        return DocumentUploaded.model_validate(self._fact(version, asked) | about)

    def embedded(self, version: int = 1) -> DocumentEmbedded:
        about = {"chunk_count": 1, "pages": 1, "chunks_sha256": "0" * 64, "indexes": ()}
        return DocumentEmbedded.model_validate(self._fact(version) | about)

    def ready(self, version: int) -> DocumentReady:
        return DocumentReady.model_validate(self._fact(version) | {"chunk_count": 1, "pages": 1})

    def failed(self, version: int = 1, *, stage: Name = "ingest") -> DocumentFailed:
        about = {"stage": stage, "code": "some.code", "detail": "Something.", "retryable": True}
        return DocumentFailed.model_validate(self._fact(version) | about)

    def deleted(self, version: int = 1, *, asked: int = 0) -> DocumentDeleted:
        return DocumentDeleted.model_validate(self._fact(version, asked) | {"deletion_id": self.deletion})

    def purged(self, *, erased: int, asked: int = 0, verified: bool = False, attempt: int = 1) -> DocumentPurged:
        about = {"deletion_id": self.deletion, "service": "embedder", "erased": erased, "remaining": 0}
        return DocumentPurged.model_validate(self._fact(1, asked) | about | {"attempt": attempt, "verified": verified})

    async def begins(self, fact: DocumentFact) -> bool:
        async with self.sessions.begin() as session:
            return await self.stage.has_to_begin(session, await fences.lock(session, fact.subject), fact)

    async def hear(self, *facts: DocumentReady | DocumentFailed | DocumentDeleted) -> None:
        for fact in facts:
            async with self.sessions.begin() as session:
                fence = await fences.lock(session, fact.subject)
                match fact:
                    case DocumentReady():
                        await self.stage.note_ready(session, fence, fact)
                    case DocumentFailed():
                        await self.stage.note_failed(session, fence, fact)
                    case DocumentDeleted():
                        await self.stage.note_deleted(session, fence, fact)

    async def conclude(self, outcome: DocumentFact) -> None:
        async with self.sessions.begin() as session:
            self.stage.conclude(session, await fences.lock(session, outcome.subject), outcome)

    async def add(self, kind: str, *, version: int = 1) -> None:
        async with self.sessions.begin() as session:
            await jobs.add(session, kind=kind, subject=self.document, version=version, owner=self.owner)

    async def lease(self, kind: str, *, seconds: int = 30) -> None:
        """Have somebody at work on the jobs of this kind, or somebody whose time is over."""
        until = func.clock_timestamp() + timedelta(seconds=seconds)
        async with self.sessions.begin() as session:
            await session.execute(update(JobRow).where(JobRow.kind == kind).values(state="running", lease_until=until))

    async def do(self, work: Work) -> None:
        """Run a job of this kind, and then its final transaction."""
        await self.end(await work.run(await self.job(work.kind)))

    async def end(self, finish: Finish) -> None:
        async with self.sessions.begin() as session:
            await finish(session, await fences.lock(session, self.document))

    async def job(self, kind: str) -> Job:
        row = (await self.jobs(kind))[0]
        return Job(
            kind=kind,
            subject=row.subject,
            version=row.version,
            part=row.part,
            owner=row.owner,
            attempt=1,
            tries=0,
            crashes=0,
            payload=row.payload,
            traceparent=None,
        )

    async def jobs(self, kind: str | None = None) -> list[JobRow]:
        rows = select(JobRow).order_by(JobRow.kind, JobRow.version, JobRow.part)
        async with self.sessions() as session:
            return list(await session.scalars(rows if kind is None else rows.where(JobRow.kind == kind)))

    async def states(self) -> set[tuple[str, str]]:
        return {(row.kind, row.state) for row in await self.jobs()}

    async def said(self, kind: type[FactT]) -> list[FactT]:
        async with self.sessions() as session:
            rows = await session.scalars(select(OutboxRow).order_by(OutboxRow.id))
            facts = [Envelope.parse(row.body).fact() for row in rows]
            return [fact for fact in facts if isinstance(fact, kind)]

    async def fence(self) -> Fence:
        async with self.sessions.begin() as session:
            return await fences.lock(session, self.document)

    def _fact(self, version: int, asked: int = 0) -> dict[str, object]:
        return {"document_id": self.document, "owner_id": self.owner, "version": version, "round": asked}


def payload(row: JobRow) -> Mapping[str, JsonValue]:
    assert row.payload is not None
    return row.payload


def _empty(held: dict[int, int]) -> int:
    erased = sum(held.values())
    held.clear()
    return erased

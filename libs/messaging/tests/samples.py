"""What the tests of messaging are built from: facts, works with a memory, and waiting without sleeping."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import UUID, uuid4

from chassis.failures import Failure
from chassis.settings import ServiceSettings
from contracts.facts import DocumentDeleted, DocumentFailed, DocumentParsingStarted, DocumentReady, DocumentUploaded
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession

OWNER = UUID("00000000-0000-7000-8000-000000000001")


class SomeSettings(ServiceSettings):
    service: ClassVar[str] = "some"


def some_settings(kafka: str) -> SomeSettings:
    return SomeSettings(
        port=0,
        database_url="postgresql+asyncpg://some:secret@/some",
        kafka=kafka,
        kafka_fetch_max_wait_ms=10,
        auth_url="http://127.0.0.1:1",
    )


def uploaded(
    document: UUID | None = None, *, version: int = 1, round_: int = 0, owner: UUID = OWNER
) -> DocumentUploaded:
    return DocumentUploaded(
        document_id=document or uuid4(),
        owner_id=owner,
        version=version,
        round=round_,
        media_type="text/plain",
        size_bytes=1,
        sha256="0" * 64,
    )


def parsing_started(document: UUID) -> DocumentParsingStarted:
    return DocumentParsingStarted(document_id=document, owner_id=OWNER, version=1)


def ready(document: UUID | None = None, *, version: int = 1, round_: int = 0) -> DocumentReady:
    return DocumentReady(
        document_id=document or uuid4(), owner_id=OWNER, version=version, round=round_, chunk_count=1, pages=1
    )


def failed(document: UUID | None = None, *, version: int = 1) -> DocumentFailed:
    return DocumentFailed(
        document_id=document or uuid4(),
        owner_id=OWNER,
        version=version,
        stage="ingest",
        code="some.code",
        detail="",
        retryable=True,
    )


def deleted(document: UUID | None = None, *, version: int = 1) -> DocumentDeleted:
    return DocumentDeleted(document_id=document or uuid4(), owner_id=OWNER, version=version, deletion_id=uuid4())


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within: float = 20.0) -> None:
    """Wait for something that comes by itself; how long it takes says nothing, that it comes does."""
    async with asyncio.timeout(within):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.005)


class SomeWork(Work):
    """Work that remembers, and does what the test tells it to."""

    kind = "some"
    backoff = timedelta(milliseconds=5)
    backoff_ceiling = timedelta(milliseconds=20)

    def __init__(self, *, held: bool = False, failures: Sequence[BaseException] = (), **attributes: object) -> None:
        """`held` work waits for its gate; each of `failures` is raised by one run, then they succeed."""
        for name, value in attributes.items():
            setattr(self, name, value)
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()
        self.failures = list(failures)
        self.started = asyncio.Event()
        self.begun: list[Job] = []
        self.runs: list[Job] = []
        self.finished: list[Job] = []
        self.given_up: list[tuple[Job, Failure]] = []
        self.lost_jobs: list[Job] = []
        self.erased: list[Job] = []

    async def run(self, job: Job) -> Finish:
        self.runs.append(job)
        self.started.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            self.finished.append(job)

        return finish

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:
        fence.fail(job.version)
        self.given_up.append((job, failure))

    async def lost(self, job: Job) -> None:
        self.lost_jobs.append(job)

    async def erase_late(self, job: Job) -> None:
        self.erased.append(job)

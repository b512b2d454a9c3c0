"""From `uploaded` to `chunked`, or to `failed`: what is said, what is kept, what is left behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest
from chassis.failures import Misconfigured
from chassis.fork_client import Ended
from chassis.local_files import LocalFiles
from contracts.facts import DocumentChunked, DocumentFailed, DocumentParsingStarted
from contracts.objects import About, about_key, chunks_key, raw_key
from ingest import scratch
from ingest.extraction import Extraction
from ingest.orders import ParseOrder
from ingest.settings import IngestSettings
from ingest.workers import Parse
from messaging import jobs
from messaging.finishing import Ending
from messaging.pausing import back_off
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.tests.at_work import AtWork, Document, ReadersHere, Zombie
from services.ingest.tests.waiting import until
from tests.samples import hostile
from tests.samples.handbook import handbook_pdf

Pdf = Callable[[list[str]], bytes]

TEXT = Document(b"The ferry leaves at nine.", media_type="text/plain", filename="ferry.txt")


def a_text(words: str = "The ferry leaves at nine.") -> Document:
    return Document(words.encode(), media_type="text/plain", filename="ferry.txt")


async def test_an_uploaded_pdf_is_split_and_everybody_hears_of_it(ingest: AtWork) -> None:
    document = Document(handbook_pdf())
    await ingest.upload(document)

    started, chunked = await ingest.all_said()
    assert isinstance(started, DocumentParsingStarted)
    assert isinstance(chunked, DocumentChunked)
    assert (started.document_id, started.owner_id, started.version, started.attempt) == (
        document.id,
        document.owner,
        1,
        1,
    )
    assert (chunked.pages, chunked.attempt, chunked.round) == (24, 1, 0)
    chunks, rows = await ingest.chunks(document), await ingest.rows(document)
    assert chunked.chunk_count == len(chunks) == len(rows) >= 24
    assert [(row.ordinal, row.page, row.text_start, row.text_end, row.sha256.hex()) for row in rows] == [
        (chunk.ordinal, chunk.page, chunk.start, chunk.end, chunk.sha256) for chunk in chunks
    ]


async def test_the_chunks_file_is_the_one_whose_digest_is_said(ingest: AtWork, object_store: LocalFiles) -> None:
    document = a_text()
    await ingest.upload(document)

    (chunked,) = await ingest.said(DocumentChunked)
    (split,) = await ingest.splits(document)
    content = await object_store.read(chunks_key(document.owner, document.id, 1, chunked.attempt), 0, 10_000)
    assert sha256(content).hexdigest() == chunked.chunks_sha256 == split.chunks_sha256
    assert chunked.pages is None


async def test_a_large_text_gets_all_its_rows(ingest: AtWork) -> None:
    document = a_text("\n".join(f"Line {number} of a log that never ends." for number in range(20_000)))
    await ingest.upload(document)

    (chunked,) = await ingest.said(DocumentChunked)
    assert chunked.chunk_count == len(await ingest.rows(document)) > 4000


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (Document(hostile.header_only()), "document.corrupt"),
        (Document(hostile.encrypted(hostile.a_pdf(), "secret")), "document.encrypted"),
        (Document(hostile.many_cheap_pages(5001)), "document.too_many_pages"),
        (Document(b" \n ", media_type="text/plain"), "document.no_text"),
        (Document(b"<svg>", media_type="image/svg+xml"), "document.unsupported"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
async def test_a_document_that_is_itself_at_fault_fails_at_once(ingest: AtWork, document: Document, code: str) -> None:
    await ingest.upload(document)

    (failed,) = await ingest.said(DocumentFailed)
    assert (failed.stage, failed.code, failed.retryable, failed.attempt) == ("ingest", code, False, 1)
    assert failed.detail
    assert await ingest.said(DocumentChunked) == []
    assert await ingest.objects(document) == set()
    assert await ingest.splits(document) == []


async def test_a_redelivered_upload_changes_nothing(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    before = await ingest.all_said()
    async with ingest.working():
        await ingest.hear(document.uploaded(), document.uploaded())
        await ingest.settled()

    assert await ingest.all_said() == before
    assert (await ingest.job(document)).attempt == 1


async def test_a_new_round_is_answered_with_the_outcome_once(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.hear(document.uploaded(asked=1), document.uploaded(asked=1), document.uploaded(asked=3))
    await ingest.hear(document.uploaded(asked=2))

    first, *again = await ingest.said(DocumentChunked)
    assert again == [first.model_copy(update={"round": asked}) for asked in (1, 3)]


async def test_a_failure_is_said_again_in_a_new_round(ingest: AtWork) -> None:
    document = Document(hostile.header_only())
    await ingest.upload(document)
    await ingest.hear(document.uploaded(asked=1))

    first, again = await ingest.said(DocumentFailed)
    assert again == first.model_copy(update={"round": 1})


async def test_a_round_while_the_job_is_held_adds_nothing(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded(), document.uploaded(asked=1))
    async with ingest.working():
        await ingest.settled()

    assert [fact.round for fact in await ingest.all_said() if isinstance(fact, DocumentChunked)] == [0]


async def test_an_upload_first_heard_in_a_later_round_is_answered_in_that_round(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    async with ingest.working():
        await ingest.hear(document.uploaded(asked=2))
        await ingest.settled()

    assert {fact.round for fact in await ingest.all_said() if isinstance(fact, DocumentChunked)} == {2}


async def test_an_older_version_that_comes_late_is_not_read(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded(version=2), document.uploaded(version=1))

    assert [job.version for job in await ingest.jobs(document)] == [2]


async def test_reprocessing_leaves_the_old_version_alone_until_the_new_one_is_ready(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.hear(document.ready(1))
    await ingest.upload(document, version=2)

    assert [split.version for split in await ingest.splits(document)] == [1, 2]
    assert await ingest.objects(document) == {"v1/chunks.1.jsonl", "v2/chunks.1.jsonl"}

    async with ingest.working():
        await ingest.hear(document.ready(2))
        await ingest.settled()

    assert [split.version for split in await ingest.splits(document)] == [2]
    assert await ingest.objects(document) == {"v2/chunks.1.jsonl"}
    assert await ingest.rows(document, 1) == []
    assert len(await ingest.rows(document, 2)) == 1


async def test_a_reprocess_that_fails_leaves_the_old_version_answering(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.hear(document.ready(1))
    await ingest.upload(document, version=2)
    async with ingest.working():
        await ingest.hear(document.failed(2))
        await ingest.settled()

    assert [split.version for split in await ingest.splits(document)] == [1]
    assert await ingest.objects(document) == {"v1/chunks.1.jsonl"}


async def test_our_own_failure_is_no_news(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.hear(document.failed(1, stage="ingest"))

    assert (await ingest.fence(document)).failed == []


async def test_a_version_that_a_later_stage_failed_is_not_read_again(ingest: AtWork) -> None:
    document = a_text()
    await ingest.hear(document.failed(1), document.uploaded())

    assert {job.kind for job in await ingest.jobs(document)} == {"drop"}


async def test_a_stored_file_that_is_not_the_accepted_one_is_tried_again_and_then_given_up(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.put(raw_key(document.owner, document.id), b"something else")
    await ingest.hear(document.uploaded())
    await give_up(ingest)

    (failed,) = await ingest.said(DocumentFailed)
    assert (failed.code, failed.retryable) == ("storage.corrupt", True)
    assert (await ingest.job(document)).attempt == ingest.work("parse").max_tries


async def test_a_file_that_is_larger_than_is_said_of_it_is_no_note(ingest: AtWork) -> None:
    document = a_text("A text of many chunks. " * 100)
    await ingest.store_upload(document)
    about = About(filename="a.txt", media_type="text/plain", size_bytes=23, sha256=document.digest)
    await ingest.put(about_key(document.owner, document.id), about.model_dump_json().encode())
    await ingest.hear(document.uploaded())
    await give_up(ingest)

    (failed,) = await ingest.said(DocumentFailed)
    assert (failed.code, failed.retryable) == ("storage.corrupt", True)


async def test_a_missing_file_is_tried_again_and_then_given_up(ingest: AtWork) -> None:
    document = a_text()
    await ingest.hear(document.uploaded())
    await give_up(ingest)

    (failed,) = await ingest.said(DocumentFailed)
    assert (failed.code, failed.retryable) == ("storage.missing", True)


async def test_parsing_is_said_to_have_started_only_once(ingest: AtWork) -> None:
    document = a_text()
    await ingest.hear(document.uploaded())
    await give_up(ingest)

    assert len(await ingest.said(DocumentParsingStarted)) == 1


async def test_a_worker_that_lost_its_lease_removes_its_own_file_and_says_nothing(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    zombie = await Zombie.take(ingest)
    await zombie.lose_lease()
    async with ingest.working():
        await ingest.settled()
    await zombie.write()
    assert await ingest.objects(document) == {"v1/chunks.1.jsonl", "v1/chunks.2.jsonl"}

    assert await zombie.conclude() is Ending.LOST
    assert await ingest.objects(document) == {"v1/chunks.2.jsonl"}
    assert [chunked.attempt for chunked in await ingest.said(DocumentChunked)] == [2]
    assert [split.attempt for split in await ingest.splits(document)] == [2]


async def test_the_attempt_that_wins_removes_what_a_dead_one_has_left(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    dead = await Zombie.take(ingest)
    await dead.write()
    await dead.lose_lease()
    async with ingest.working():
        await ingest.settled()

    assert await ingest.objects(document) == {"v1/chunks.2.jsonl"}


async def test_a_worker_that_finishes_after_its_version_failed_erases_what_it_wrote(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    zombie = await Zombie.take(ingest)
    await zombie.write()
    await ingest.hear(document.failed(1))

    assert await zombie.conclude() is Ending.LATE
    assert await ingest.objects(document) == set()
    assert await ingest.said(DocumentChunked) == []


async def test_a_worker_whose_version_is_merely_superseded_leaves_its_file_to_the_drop(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    zombie = await Zombie.take(ingest)
    await zombie.write()
    await ingest.hear(document.uploaded(version=2))

    assert await zombie.conclude() is Ending.OVER
    assert await ingest.objects(document) == {"v1/chunks.1.jsonl"}
    async with ingest.working():
        await ingest.settled()
        await ingest.hear(document.ready(2))
        await ingest.settled()
    assert await ingest.objects(document) == {"v2/chunks.1.jsonl"}


async def test_a_job_that_kills_its_workers_is_given_up(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    for _ in range(3):
        crashed = await Zombie.take(ingest)
        await crashed.lose_lease()
    async with ingest.working():
        await ingest.settled()

    (failed,) = await ingest.said(DocumentFailed)
    assert (failed.code, failed.retryable) == ("processing.crashed", True)


def scratch_in(folder: Path) -> list[Path]:
    return list(folder.glob(f"{scratch.PREFIX}*"))


async def test_no_scratch_is_left(ingest: AtWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    await ingest.upload(a_text())
    await ingest.upload(Document(hostile.header_only()))

    assert scratch_in(tmp_path) == []


def test_a_store_may_be_away_for_a_minute_before_a_document_fails_for_it() -> None:
    assert Parse.max_tries is not None
    waits = [
        back_off(tries, first=Parse.backoff, ceiling=Parse.backoff_ceiling) for tries in range(Parse.max_tries - 1)
    ]

    assert sum(waits, timedelta()) > timedelta(minutes=1)


async def test_a_full_store_is_waited_for_and_costs_no_try(ingest: AtWork, object_store: LocalFiles) -> None:
    document = a_text()
    full = FullOnce(object_store)
    at_work = AtWork(ingest.settings, ingest.engine, full, ingest.readers)
    await at_work.store_upload(document)
    full.is_full = True
    async with at_work.working():
        await at_work.hear(document.uploaded())
        await at_work.settled()
        job = await at_work.job(document)
        assert (job.state, job.tries, job.failure) == ("waiting", 0, "storage.full")
    async with at_work.working():  # again, for whoever stood still looks for himself only in some seconds
        await at_work.make_due("parse")
        await at_work.settled()

    (chunked,) = await at_work.said(DocumentChunked)
    assert chunked.attempt == 2
    assert await at_work.objects(document) == {"v1/chunks.2.jsonl"}


class FullOnce(LocalFiles):
    """A store on a disk that is full for one put."""

    def __init__(self, whole: LocalFiles) -> None:
        super().__init__(whole._root)
        self.is_full = False

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        if self.is_full:
            self.is_full = False
            raise Misconfigured("storage.full", "The object store is full.")
        await super().put(key, chunks, size=size)


async def give_up(ingest: AtWork) -> None:
    """Try until nothing is tried any more, without waiting for the back-off."""
    async with ingest.working("parse"):
        while not await ingest.said(DocumentFailed):
            await ingest.make_due("parse")
            await ingest.settled()


class BusyReaders(ReadersHere):
    """Readers that go on reading for as long as they are kept busy."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = 0
        self.may_end = asyncio.Event()

    async def _read(self, wanted: Extraction) -> Ended:
        self.reading += 1
        await self.may_end.wait()
        return await super()._read(wanted)


@pytest.fixture
def busy(settings: IngestSettings, engine: AsyncEngine, object_store: LocalFiles) -> AtWork:
    """Ingest with two readers that do not come to an end."""
    return AtWork(settings.model_copy(update={"readers": 2}), engine, object_store, BusyReaders())


@asynccontextmanager
async def all_readers_busy(busy: AtWork) -> AsyncIterator[list[Document]]:
    """While an owner's documents take all readers, and one more waits for one."""
    readers, owner = busy.readers, uuid4()
    assert isinstance(readers, BusyReaders)
    slow = [Document(handbook_pdf(), owner=owner) for _ in range(3)]
    async with busy.working():
        for document in slow:
            await busy.store_upload(document)
        await busy.hear(*(document.uploaded() for document in slow))
        await until(lambda: readers.reading == 2)
        yield slow
        readers.may_end.set()
        await busy.settled()


async def test_a_note_waits_for_nobodys_pdf(busy: AtWork) -> None:
    note = a_text()
    async with all_readers_busy(busy) as slow:
        await busy.store_upload(note)
        await busy.hear(note.uploaded())
        await busy.has_said(DocumentChunked)
        assert (await busy.job(slow[2])).state == "waiting"

    first, *others = await busy.said(DocumentChunked)
    assert first.document_id == note.id
    assert {fact.document_id for fact in others} == {document.id for document in slow}


async def test_what_needs_a_reader_waits_for_one(busy: AtWork) -> None:
    long = a_text("The ferry leaves at nine, and not before. " * 10)
    async with all_readers_busy(busy):
        await busy.store_upload(long)
        await busy.hear(long.uploaded())
        assert (await busy.job(long)).light is False
        assert (await busy.job(long)).state == "waiting"

    assert long.id in {fact.document_id for fact in await busy.said(DocumentChunked)}


async def test_a_note_that_an_older_release_has_noted_is_read_in_its_turn(busy: AtWork) -> None:
    note = a_text()
    async with all_readers_busy(busy):
        await busy.store_upload(note)
        async with busy.sessions.begin() as session:  # it says nothing of how light its jobs are
            order = ParseOrder(round=0, sha256=note.digest).to_payload()
            await jobs.add(session, kind="parse", subject=note.id, version=1, owner=note.owner, payload=order)
        await busy.hear(note.uploaded())
        assert len(await busy.jobs(note)) == 1

    assert note.id in {fact.document_id for fact in await busy.said(DocumentChunked)}


async def test_many_documents_are_read_at_once_and_none_twice(ingest: AtWork) -> None:
    documents = [a_text(f"This is letter {number} of {uuid4()}.") for number in range(20)]
    async with ingest.working():
        await asyncio.gather(*(ingest.store_upload(document) for document in documents))
        await ingest.hear(*(document.uploaded() for document in documents))
        await ingest.settled()

    chunked = await ingest.said(DocumentChunked)
    assert {fact.document_id for fact in chunked} == {document.id for document in documents}
    assert len(chunked) == 20

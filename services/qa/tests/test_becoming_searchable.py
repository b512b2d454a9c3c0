"""From `embedded` to `ready`: passages copied, and the version that answers changed in one instant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from chassis.failures import Permanent
from chassis.ids import uuid7
from chassis.transactions import Transactions, driver_of
from contracts.facts import (
    DocumentDeleted,
    DocumentEmbedded,
    DocumentFailed,
    DocumentPurged,
    DocumentReady,
    IndexActivated,
)
from contracts.objects import chunks_key
from messaging import fences
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.tables import JobRow
from qa.active_index import ActiveIndexes
from qa.indexing import ActiveIndexWait, CopyPassages
from qa.main import stage_of
from qa.orders import IndexOrder
from qa.repository import DocumentVersion
from qa.tables import IndexRow, PassageRow, SearchableDocument
from qa.workers import IndexPassages
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

PUMP = "The Kestrel pump runs at 4200 rpm."
NEWER = "The Kestrel pump runs at 5100 rpm since the revision."
FAST = "How fast does the Kestrel pump run?"

OWNER = UUID(int=7)


async def passages(service: Any, document: UUID) -> list[tuple[int, int, str]]:
    row = PassageRow
    query = select(row.version, row.ordinal, row.text).where(row.document_id == document)
    async with service.sessions() as session:
        return [tuple(found) for found in await session.execute(query.order_by(row.version, row.ordinal))]


async def the_job(service: Any) -> JobRow:
    async with service.sessions() as session:
        job: JobRow = await session.scalar(select(JobRow).order_by(JobRow.added_at.desc()))
    return job


def order_of(fact: DocumentEmbedded) -> IndexOrder:
    return IndexOrder.model_validate(fact.model_dump())


async def due_at_once(service: Any) -> None:
    async with service.sessions.begin() as session:
        await session.execute(update(JobRow).values(available_at=func.now()))


async def test_ready_is_said_when_it_can_be_asked_about(service: Any, ada: Any) -> None:
    fact = await service.embed(ada.id, [PUMP], round=3)
    await service.hear(fact)
    assert (await ada.answer(FAST))["answered"] is False
    await service.work()
    (ready,) = await service.said(DocumentReady)
    assert (ready.document_id, ready.owner_id, ready.version, ready.round) == (fact.document_id, ada.id, 1, 3)
    assert (ready.chunk_count, ready.pages) == (1, 1)
    assert (await ada.answer(FAST))["answered"] is True


async def test_a_large_document_is_copied_in_batches(service: Any) -> None:
    texts = [f"Fact {number}." for number in range(35)]
    fact = await service.embed(OWNER, texts)
    of = DocumentVersion(OWNER, fact.document_id, 1)
    copied = await CopyPassages(service.transactions, service.store, batch=10)(of, order_of(fact))
    assert copied is not None
    assert [chunk.text for chunk in copied.last] == texts[30:]
    assert [text for _, _, text in await passages(service, fact.document_id)] == texts[:30]
    # Whatever of it is there already, and from whichever attempt: the job leaves each passage once.
    await service.hear(fact)
    await service.work()
    assert [text for _, _, text in await passages(service, fact.document_id)] == texts


async def test_an_empty_document_is_ready(service: Any) -> None:
    await service.add(OWNER)
    (ready,) = await service.said(DocumentReady)
    assert ready.chunk_count == 0


async def test_the_old_version_answers_until_the_new_one_is_ready(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    fact = await service.embed(ada.id, [NEWER], document=document, version=2)
    await service.hear(fact)
    before = await ada.answer(FAST)
    assert {(source["version"], source["text"]) for source in before["sources"]} == {(1, PUMP)}
    await service.work()
    after = await ada.answer(FAST)
    assert {(source["version"], source["text"]) for source in after["sources"]} == {(2, NEWER)}
    assert await passages(service, document) == [(2, 0, NEWER)]


async def test_a_late_lower_version_changes_nothing(service: Any) -> None:
    document = await service.add(OWNER, NEWER, version=2)
    await service.hear(await service.embed(OWNER, [PUMP], document=document, version=1))
    await service.work()
    assert await passages(service, document) == [(2, 0, NEWER)]
    assert len(await service.said()) == 1


async def test_heard_twice_it_is_done_once(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP])
    for _ in range(3):
        await service.hear(fact)
        await service.work()
    assert len(await service.said(DocumentReady)) == 1


async def test_a_new_round_is_answered_once(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP])
    await service.hear(fact)
    await service.work()
    for round_ in (1, 1, 2, 0):
        await service.hear(fact.model_copy(update={"round": round_}))
    await service.work()
    assert [ready.round for ready in await service.said(DocumentReady)] == [0, 1, 2]


async def test_it_waits_for_the_index_to_be_activated(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP], indexes=("new",))
    await service.hear(fact)
    working = asyncio.create_task(service.work())
    wait = ActiveIndexWait(service.transactions)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(("new",)), 0.2)
    assert await service.said() == []
    await service.hear(IndexActivated(index_id="new", generation=2, model="local", dimension=256, shards=3))
    await working
    assert len(await service.said(DocumentReady)) == 1


async def test_an_index_that_took_over_later_has_what_the_one_before_had(service: Any) -> None:
    await service.hear(IndexActivated(index_id="later", generation=2, model="local", dimension=256, shards=3))
    await service.add(OWNER, PUMP)
    assert len(await service.said(DocumentReady)) == 1


async def test_without_any_index_nothing_is_ready(service: Any) -> None:
    async with service.sessions.begin() as session:
        await session.execute(delete(IndexRow))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ActiveIndexWait(service.transactions)((service.index_id,)), 0.2)


async def test_a_file_that_is_not_the_one_announced_is_not_shown(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP], chunks_sha256="0" * 64)
    await service.hear(fact)
    for tries in range(1, IndexPassages.max_tries + 1):
        await service.work()
        assert (await the_job(service)).tries == min(tries, IndexPassages.max_tries - 1)
        await due_at_once(service)
    (failed,) = await service.said()
    assert isinstance(failed, DocumentFailed)
    assert (failed.stage, failed.code, failed.retryable) == ("qa", "processing.chunks_changed", True)
    assert await passages(service, fact.document_id) == []


@pytest.mark.parametrize("content", [None, b"", b"not json\n", b'{"filename": "x", "pages": 1}\n'])
async def test_a_file_that_cannot_be_read_is_tried_again(service: Any, content: bytes | None) -> None:
    fact = await service.embed(OWNER, [PUMP])
    key = chunks_key(OWNER, fact.document_id, 1, 1)
    await service.store.delete(key)
    if content is not None:

        async def once() -> Any:
            yield content

        await service.store.put(key, once())
    await service.hear(fact)
    await service.work()
    job = await the_job(service)
    assert (job.state, job.tries) == ("waiting", 1)
    assert str(job.failure).startswith("processing.chunks_")


async def test_after_a_failed_reprocess_the_old_version_answers(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    await service.hear(await service.embed(ada.id, [NEWER], document=document, version=2))
    failed = DocumentFailed(
        document_id=document, owner_id=ada.id, version=2, stage="embedder", code="x", detail="x", retryable=True
    )
    await service.hear(failed)
    await service.work()
    assert (await ada.answer(FAST))["sources"][0]["text"] == PUMP
    assert await passages(service, document) == [(1, 0, PUMP)]
    assert len(await service.said(DocumentReady)) == 1
    # Our own failures come back to us: they change nothing.
    await service.hear(failed.model_copy(update={"stage": "qa", "version": 1}))
    assert (await ada.answer(FAST))["answered"] is True


class Cut:
    """Transactions of which every other one loses its connection before it is committed."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self.begun = 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        self.begun += 1
        async with self._transactions.begin() as session:
            yield session
            if self.begun % 2:
                await (await driver_of(session)).execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_lost_connection_costs_one_batch_and_not_all_of_them(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP, NEWER, FAST])
    await service.hear(fact)
    cut: Any = Cut(service.transactions)
    copied = await CopyPassages(cut, service.store, batch=1)(
        DocumentVersion(OWNER, fact.document_id, 1), order_of(fact)
    )
    assert copied is not None
    assert [text for _, _, text in await passages(service, fact.document_id)] == [PUMP, NEWER]
    assert cut.begun == 4


async def test_a_deletion_that_names_another_owner_hides_nothing(service: Any, ada: Any) -> None:
    fact = await service.embed(ada.id, [PUMP])
    await service.hear(fact)
    await service.work()
    deleted = DocumentDeleted(document_id=fact.document_id, owner_id=ada.id, version=1, deletion_id=uuid7())
    await service.hear(deleted.model_copy(update={"owner_id": OWNER}))
    await service.work()
    assert (await ada.answer(FAST))["answered"] is True
    await service.hear(deleted)
    assert (await ada.answer(FAST))["answered"] is False


async def test_a_batch_that_comes_after_a_deletion_is_not_written(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP, NEWER, FAST])
    await service.hear(DocumentDeleted(document_id=fact.document_id, owner_id=OWNER, version=1, deletion_id=uuid7()))
    of = DocumentVersion(OWNER, fact.document_id, 1)
    copied = await CopyPassages(service.transactions, service.store, batch=1)(of, order_of(fact))
    assert copied is None
    assert await passages(service, fact.document_id) == []


async def test_what_came_too_late_is_erased(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP])
    await service.hear(fact)
    await service.work()
    work = the_work(service)
    job = _as_job(await the_job(service))
    await work.erase_late(job)
    assert len(await passages(service, fact.document_id)) == 1  # it is live, and so not too late
    await service.hear(DocumentDeleted(document_id=fact.document_id, owner_id=OWNER, version=1, deletion_id=uuid7()))
    await work.erase_late(job)
    assert await passages(service, fact.document_id) == []


async def test_a_permanent_failure_is_not_retryable(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP])
    await service.hear(fact)
    job = _as_job(await the_job(service))
    async with service.sessions.begin() as session:
        fence = await fences.lock(session, fact.document_id)
        await the_work(service).give_up(session, fence, job, Permanent("processing.x", "no"))
    (failed,) = await service.said(DocumentFailed)
    assert failed.retryable is False


async def test_a_deletion_is_purged_and_verified(service: Any) -> None:
    document = await service.add(OWNER, PUMP, NEWER)
    deletion = DocumentDeleted(document_id=document, owner_id=OWNER, version=1, deletion_id=uuid7())
    await service.hear(deletion)
    async with service.sessions() as session:
        assert await session.get(SearchableDocument, document) is None
    await service.work("purge_document")
    (purged,) = await service.said(DocumentPurged)
    assert (purged.erased, purged.remaining, purged.verified) == (3, 0, False)
    await due_at_once(service)
    await service.work("sweep_document")
    said = await service.said(DocumentPurged)
    assert [fact.verified for fact in said] == [False, True, True, True]
    assert {(fact.erased, fact.remaining) for fact in said} == {(3, 0)}
    # Heard again it changes nothing; asked again it is said again, once.
    await service.hear(deletion)
    await service.hear(deletion.model_copy(update={"round": 1}))
    await service.hear(deletion.model_copy(update={"round": 1}))
    await service.work()
    assert [fact.round for fact in await service.said(DocumentPurged)][4:] == [1]


async def test_the_sweeper_counts_what_came_late(service: Any) -> None:
    document = await service.add(OWNER, PUMP)
    await service.hear(DocumentDeleted(document_id=document, owner_id=OWNER, version=1, deletion_id=uuid7()))
    await service.work("purge_document")
    async with service.sessions.begin() as session:
        session.add(
            PassageRow(
                document_id=document, version=1, ordinal=0, owner_id=OWNER, page=1, starts_at=0, ends_at=4, text="late"
            )
        )
    await due_at_once(service)
    await service.work("sweep_document")
    last = (await service.said(DocumentPurged))[-1]
    assert (last.erased, last.remaining, last.verified) == (3, 0, True)
    assert await passages(service, document) == []


async def test_a_purge_waits_for_whoever_may_still_write(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP])
    await service.hear(fact)
    async with service.sessions.begin() as session:
        lease = func.now() + timedelta(minutes=1)
        await session.execute(update(JobRow).values(state="running", lease_until=lease))
    await service.hear(DocumentDeleted(document_id=fact.document_id, owner_id=OWNER, version=1, deletion_id=uuid7()))
    await service.work("purge_document")
    assert await service.said() == []
    async with service.sessions.begin() as session:
        ended = update(JobRow).where(JobRow.kind == IndexPassages.kind).values(state="done", lease_until=None)
        await session.execute(ended)
    await due_at_once(service)
    await service.work("purge_document")
    assert len(await service.said(DocumentPurged)) == 1


async def test_a_document_never_heard_of_is_purged_as_well(service: Any) -> None:
    await service.hear(DocumentDeleted(document_id=uuid7(), owner_id=OWNER, version=1, deletion_id=uuid7()))
    await service.work("purge_document")
    (purged,) = await service.said()
    assert (purged.erased, purged.remaining) == (0, 0)


async def test_after_a_deletion_nothing_of_it_starts_again(service: Any) -> None:
    fact = await service.embed(OWNER, [PUMP])
    await service.hear(DocumentDeleted(document_id=fact.document_id, owner_id=OWNER, version=1, deletion_id=uuid7()))
    await service.hear(fact)
    failed = DocumentFailed(
        document_id=fact.document_id, owner_id=OWNER, version=1, stage="ingest", code="x", detail="x", retryable=False
    )
    await service.hear(failed)
    await service.work("purge_document")
    assert [fact.type for fact in await service.said()] == [DocumentPurged.type]
    assert await passages(service, fact.document_id) == []


async def test_the_highest_generation_is_the_active_index(service: Any) -> None:
    indexes = ActiveIndexes(service.statements)
    for index_id, generation in (("c", 3), ("b", 2), ("c", 3), ("c", 1)):
        await service.hear(
            IndexActivated(index_id=index_id, generation=generation, model="local", dimension=256, shards=3)
        )
    active = await indexes.read()
    assert active is not None
    assert (active.index_id, active.generation) == ("c", 3)


def the_work(service: Any) -> IndexPassages:
    copy = CopyPassages(service.transactions, service.store)
    wait = ActiveIndexWait(service.transactions)
    return IndexPassages(service.transactions, copy=copy, wait=wait, stage=stage_of(Outbox("qa")), concurrency=1)


def _as_job(row: JobRow) -> Any:
    return Job(
        kind=row.kind,
        subject=row.subject,
        version=row.version,
        part=row.part,
        owner=row.owner,
        attempt=row.attempt,
        tries=row.tries,
        crashes=row.crashes,
        payload=row.payload,
        traceparent=row.traceparent,
    )

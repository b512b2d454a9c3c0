"""After a deletion nothing is left, whoever was writing, and the receipt proves it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from chassis.local_files import LocalFiles
from contracts.facts import DocumentChunked, DocumentFailed, DocumentPurged
from contracts.objects import chunks_key
from messaging.finishing import Ending
from stages.erasing import LOOK_AGAIN

from services.ingest.tests.at_work import DELETION, AtWork, Document, Zombie
from tests.samples import hostile

LONG = "\n\n".join(f"Paragraph {number} of a text with some length to it." for number in range(60)).encode()


def a_text() -> Document:
    return Document(LONG, media_type="text/plain", filename="a.txt")


async def nothing_is_left(ingest: AtWork, document: Document) -> bool:
    return not (await ingest.splits(document) or await ingest.rows(document) or await ingest.objects(document))


async def purge(ingest: AtWork, document: Document, **deletion: object) -> None:
    async with ingest.working("purge"):
        await ingest.hear(document.deleted(**deletion))  # type: ignore[arg-type]
        await ingest.settled()


async def test_a_deleted_document_is_erased_and_counted(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    chunks = len(await ingest.rows(document))
    await purge(ingest, document)

    (purged,) = await ingest.said(DocumentPurged)
    assert purged == DocumentPurged(
        document_id=document.id,
        owner_id=document.owner,
        version=1,
        attempt=1,
        deletion_id=DELETION,
        service="ingest",
        erased=chunks + 1,
        remaining=0,
    )
    assert await nothing_is_left(ingest, document)


async def test_what_the_gateway_keeps_is_the_gateways_to_erase(ingest: AtWork, object_store: LocalFiles) -> None:
    document = a_text()
    await ingest.upload(document)
    await purge(ingest, document)

    left = [stored.key.rpartition("/")[2] async for stored in object_store.list(f"users/{document.owner}/")]
    assert sorted(left) == ["about.json", "raw"]


async def test_a_deletion_that_names_another_owner_erases_nothing(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    async with ingest.working("purge"):
        await ingest.hear(document.deleted().model_copy(update={"owner_id": uuid4()}))
        await ingest.settled()
    assert await ingest.splits(document)
    assert await ingest.rows(document)
    await purge(ingest, document)
    assert await nothing_is_left(ingest, document)


async def test_a_document_never_heard_of_gets_its_receipt(ingest: AtWork) -> None:
    document = a_text()
    await purge(ingest, document)

    (purged,) = await ingest.said(DocumentPurged)
    assert (purged.erased, purged.remaining) == (0, 0)


async def test_every_version_is_erased(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.upload(document, version=2)
    chunks = len(await ingest.rows(document, 1)) + len(await ingest.rows(document, 2))
    await purge(ingest, document, version=2)

    (purged,) = await ingest.said(DocumentPurged)
    assert purged.erased == chunks + 2
    assert await nothing_is_left(ingest, document)


async def test_a_deletion_before_the_parsing_ends_it_before_it_begins(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded(), document.deleted())
    async with ingest.working():
        await ingest.settled()

    assert await ingest.said(DocumentChunked) == []
    assert (await ingest.job(document)).state == "cancelled"
    assert await nothing_is_left(ingest, document)


async def test_an_upload_that_is_heard_after_the_deletion_is_not_read(ingest: AtWork) -> None:
    document = a_text()
    await ingest.hear(document.deleted(), document.uploaded(), document.ready(1), document.failed(1))

    assert {job.kind for job in await ingest.jobs(document)} == {"purge"}


async def test_a_deletion_while_parsing_leaves_nothing(ingest: AtWork, object_store: LocalFiles) -> None:
    document = a_text()
    gate = Gate(object_store)
    at_work = AtWork(ingest.settings, ingest.engine, gate, ingest.readers)
    await at_work.store_upload(document)
    gate.shut()
    async with at_work.working():
        await at_work.hear(document.uploaded())
        await gate.reached.wait()
        await at_work.hear(document.deleted())
        await at_work.has_said(DocumentPurged)

    assert await nothing_is_left(at_work, document)
    assert await at_work.said(DocumentChunked) == []
    assert [purged.remaining for purged in await at_work.said(DocumentPurged)] == [0]


async def test_no_receipt_while_somebody_may_still_be_writing(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    zombie = await Zombie.take(ingest)
    await purge(ingest, document)
    assert await ingest.said(DocumentPurged) == []

    await zombie.lose_lease()
    await ingest.make_due("purge")
    async with ingest.working("purge"):
        await ingest.settled()
    assert [purged.remaining for purged in await ingest.said(DocumentPurged)] == [0]


async def test_a_zombie_that_writes_after_the_receipt_erases_what_it_wrote(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    zombie = await Zombie.take(ingest)
    await zombie.lose_lease()
    await purge(ingest, document)
    await zombie.write()

    assert await zombie.conclude() is Ending.LOST_AND_LATE
    assert await nothing_is_left(ingest, document)


async def test_a_zombie_that_dies_after_the_receipt_is_cleared_up_by_the_sweeper(ingest: AtWork) -> None:
    document = a_text()
    await ingest.store_upload(document)
    await ingest.hear(document.uploaded())
    zombie = await Zombie.take(ingest)
    await zombie.lose_lease()
    await purge(ingest, document)
    await zombie.write()
    assert await ingest.objects(document)

    async with ingest.working("sweep"):
        await ingest.make_due("sweep", 1)
        await ingest.settled()
    assert await nothing_is_left(ingest, document)
    (receipt, verified) = await ingest.said(DocumentPurged)
    assert (receipt.erased, receipt.verified) == (0, False)
    assert (verified.erased, verified.remaining, verified.verified) == (1, 0, True)


async def test_the_sweeper_looks_three_times_and_says_that_it_is_verified(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await purge(ingest, document)
    sweeps = [job for job in await ingest.jobs(document) if job.kind == "sweep"]
    assert sorted(job.available_at - job.added_at for job in sweeps) == sorted(LOOK_AGAIN)

    async with ingest.working("sweep"):
        await ingest.make_due("sweep")
        await ingest.settled()
    receipt, *verified = await ingest.said(DocumentPurged)
    assert verified == [receipt.model_copy(update={"verified": True})] * 3


async def test_a_redelivered_deletion_changes_nothing_and_a_new_round_is_answered(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await purge(ingest, document)
    await ingest.hear(document.deleted(), document.deleted(asked=1), document.deleted(asked=1))

    receipt, again = await ingest.said(DocumentPurged)
    assert again == receipt.model_copy(update={"round": 1})
    assert len([job for job in await ingest.jobs(document) if job.kind == "purge"]) == 1


async def test_a_deletion_is_never_answered_with_an_outcome_of_the_parsing(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.hear(document.deleted(asked=5))

    assert [fact.round for fact in await ingest.said(DocumentChunked)] == [0]


async def test_a_purge_that_was_interrupted_still_counts_what_there_was(
    ingest: AtWork, object_store: LocalFiles
) -> None:
    document = a_text()
    await ingest.upload(document)
    chunks = len(await ingest.rows(document))
    await object_store.delete(chunks_key(document.owner, document.id, 1, 1))
    await purge(ingest, document)

    assert [purged.erased for purged in await ingest.said(DocumentPurged)] == [chunks + 1]


async def test_others_keep_what_is_theirs(ingest: AtWork) -> None:
    doomed, kept = a_text(), a_text()
    await ingest.upload(doomed)
    await ingest.upload(kept)
    before = await ingest.rows(kept)
    await purge(ingest, doomed)

    assert [row.sha256 for row in await ingest.rows(kept)] == [row.sha256 for row in before]
    assert await ingest.objects(kept) == {"v1/chunks.1.jsonl"}


async def test_dropping_looks_again_for_what_came_late(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.upload(document, version=2)
    async with ingest.working():
        await ingest.hear(document.ready(2))
        await ingest.settled()
        await ingest.put(chunks_key(document.owner, document.id, 1, 9), b"written by a zombie")
        await ingest.make_due("drop", 2)
        await ingest.settled()

    assert await ingest.objects(document) == {"v2/chunks.1.jsonl"}


async def test_a_first_version_that_is_ready_gives_nobody_work(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.hear(document.ready(1))

    assert [job.kind for job in await ingest.jobs(document)] == ["parse"]


async def test_a_drop_that_meets_a_deletion_leaves_the_counting_to_the_purge(ingest: AtWork) -> None:
    document = a_text()
    await ingest.upload(document)
    await ingest.upload(document, version=2)
    rows = len(await ingest.rows(document, 1)) + len(await ingest.rows(document, 2))
    await ingest.hear(document.ready(2))
    await ingest.make_due("drop")
    early, late = await Zombie.take(ingest, "drop"), await Zombie.take(ingest, "drop")
    await early.write()
    await ingest.hear(document.deleted(version=2))
    await early.conclude()
    await late.write()
    await late.conclude()
    async with ingest.working("purge"):
        await ingest.settled()

    assert [purged.erased for purged in await ingest.said(DocumentPurged)] == [rows + 2]


async def test_a_failed_document_leaves_nothing_of_its_earlier_attempts(ingest: AtWork) -> None:
    document = Document(hostile.header_only())
    await ingest.put(chunks_key(document.owner, document.id, 1, 0), b"of an attempt that died")
    await ingest.upload(document)

    assert len(await ingest.said(DocumentFailed)) == 1
    assert await ingest.objects(document) == set()


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
async def test_facts_in_any_order_end_alike(ingest: AtWork, order: tuple[int, ...]) -> None:
    document = a_text()
    await ingest.store_upload(document)
    facts = [document.uploaded(), document.ready(1), document.deleted()]
    async with ingest.working():
        for place in order:
            await ingest.hear(facts[place])
        for _ in range(2):
            await ingest.hear(*facts)
        await ingest.settled()
        await ingest.make_due("purge")
        await ingest.settled()

    assert await nothing_is_left(ingest, document)
    assert len(await ingest.said(DocumentPurged)) == 1


class Gate(LocalFiles):
    """A store in which a put of chunks waits in the middle."""

    def __init__(self, whole: LocalFiles) -> None:
        super().__init__(whole._root)
        self.reached = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        self.reached.set()
        await self._open.wait()
        await super().put(key, chunks, size=size)

"""After a deletion nothing is left, whoever was writing, and the receipt proves it."""

from uuid import UUID

import pytest
from contracts.facts import DocumentEmbedded, DocumentPurged
from messaging.finishing import Ending

from services.embedder.tests.at_work import AtWork, Slow, a_document
from tests.stubs.providers import OpenAIStub


async def test_a_deleted_document_is_erased_and_counted(embedder: AtWork) -> None:
    document = a_document(chunks=5)
    await embedder.embed(document)
    await embedder.purge(document)
    (purged,) = await embedder.said(DocumentPurged)
    assert purged == DocumentPurged(
        document_id=document.id,
        owner_id=document.owner,
        version=1,
        attempt=1,
        deletion_id=UUID(int=7),
        service="embedder",
        erased=5 + 1 + 5,  # rows, the run, and the vectors in Chroma
        remaining=0,
    )
    assert await embedder.nothing_is_left(document)


async def test_a_neighbour_of_the_same_owner_stays(embedder: AtWork) -> None:
    document = a_document()
    neighbour = a_document(owner=document.owner)
    await embedder.embed(document)
    await embedder.embed(neighbour)
    await embedder.purge(document)
    assert len(await embedder.rows(neighbour)) == 3
    assert len(await embedder.vectors(neighbour)) == 3


async def test_a_deletion_that_names_another_owner_erases_nothing(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    async with embedder.working():
        await embedder.hear(document.deleted().model_copy(update={"owner_id": UUID(int=8)}))
        await embedder.settled()
    assert len(await embedder.rows(document)) == len(await embedder.vectors(document)) == 3
    await embedder.purge(document)
    assert await embedder.nothing_is_left(document)


async def test_a_document_never_heard_of_gets_its_receipt(embedder: AtWork) -> None:
    document = a_document()
    await embedder.purge(document)
    (purged,) = await embedder.said(DocumentPurged)
    assert (purged.erased, purged.remaining) == (0, 0)
    await embedder.hear(document.chunked())
    assert await embedder.jobs(document, "embed") == []


async def test_a_receipt_is_said_again_once_a_round(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.purge(document)
    await embedder.hear(document.deleted(), document.deleted(asked=3), document.deleted(asked=3))
    first, again = await embedder.said(DocumentPurged)
    assert again == first.model_copy(update={"round": 3})


async def test_a_late_worker_leaves_nothing(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    async with slow.asking(openai_stub):
        await slow.lose_lease()
        await embedder.purge(document)
        assert len(await embedder.said(DocumentPurged)) == 1
    assert await embedder.vectors(document)
    assert await slow.conclude() is Ending.LOST_AND_LATE
    assert await embedder.nothing_is_left(document)
    assert await embedder.said(DocumentEmbedded) == []


async def test_a_receipt_waits_for_whoever_may_still_be_writing(embedder: AtWork) -> None:
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    await embedder.hear(document.deleted())
    async with embedder.working("purge"):
        await embedder.settled()
        assert await embedder.said(DocumentPurged) == []
        await slow.write()
        assert await slow.conclude() is Ending.LATE
        await slow.lose_lease()
        await embedder.make_due("purge")
        await embedder.settled()
    (purged,) = await embedder.said(DocumentPurged)
    assert purged.remaining == 0
    assert await embedder.nothing_is_left(document)


@pytest.mark.parametrize("look", [1, 2, 3])
async def test_what_a_zombie_writes_after_the_receipt_is_found_when_somebody_looks_again(
    embedder: AtWork, openai_stub: OpenAIStub, look: int
) -> None:
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    async with slow.asking(openai_stub):
        await slow.lose_lease()
        await embedder.purge(document)
    # It has written, and then it dies.
    async with embedder.working("sweep"):
        await embedder.make_due("sweep", part=look)
        await embedder.settled()
    purged, verified = await embedder.said(DocumentPurged)
    assert (purged.verified, verified.verified) == (False, True)
    assert (verified.erased, verified.remaining) == (purged.erased + 3, 0)
    assert await embedder.nothing_is_left(document)


async def test_what_was_verified_is_said_again_when_somebody_asks(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.purge(document)
    async with embedder.working("sweep"):
        await embedder.make_due("sweep", part=1)
        await embedder.settled()
    await embedder.hear(document.deleted(asked=1))
    assert (await embedder.said(DocumentPurged))[-1].verified


async def test_lower_versions_are_dropped_when_one_is_ready(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.embed(document, version=2)
    assert len(await embedder.vectors(document)) == 6
    async with embedder.working("drop"):
        await embedder.hear(document.ready(2))
        await embedder.settled()
    assert {run.version for run in await embedder.runs(document)} == {2}
    assert await embedder.vectors(document) == (await embedder.rows(document)).keys()
    assert all(name.split(":")[1] == "2" for name in await embedder.vectors(document))


async def test_until_then_the_old_version_stays(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.hear(document.ready(1))
    await embedder.embed(document, version=2)
    async with embedder.working("drop"):
        await embedder.hear(document.failed(2))
        await embedder.settled()
    assert {run.version for run in await embedder.runs(document)} == {1}
    assert all(name.split(":")[1] == "1" for name in await embedder.vectors(document))
    assert len(await embedder.vectors(document)) == 3


async def test_a_version_that_another_stage_failed_is_dropped_while_it_is_being_embedded(embedder: AtWork) -> None:
    document = a_document(chunks=70)
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    await slow.write()
    await embedder.hear(document.failed())
    assert await slow.conclude() is Ending.LATE
    async with embedder.working("drop"):
        await embedder.settled()
    assert await embedder.nothing_is_left(document)
    assert await embedder.said(DocumentEmbedded) == []


async def test_a_deletion_does_not_need_the_collections_to_be_there(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.parts.shards.drop(await embedder.active())
    await embedder.purge(document)
    (purged,) = await embedder.said(DocumentPurged)
    assert (purged.erased, purged.remaining) == (7, 0)


@pytest.mark.parametrize("called_off", [False, True])
async def test_a_receipt_waits_for_a_rebuild_that_may_bring_the_document_along(
    embedder: AtWork, *, called_off: bool
) -> None:
    document = a_document()
    neighbour = a_document(owner=document.owner)
    await embedder.embed(document)
    await embedder.embed(neighbour)
    await embedder.parts.build(None, shards=2)
    await embedder.put_off(document, "rebuild")
    at_work = await Slow.take(embedder, "rebuild")
    if called_off:
        await embedder.parts.build.call_off()
    await embedder.hear(document.deleted())
    async with embedder.working("purge"):
        await embedder.settled()
        assert await embedder.said(DocumentPurged) == []
        await at_work.lose_lease()
        await embedder.make_due("purge")
        await embedder.settled()
    (purged,) = await embedder.said(DocumentPurged)
    assert purged.remaining == 0

"""The life of an index: made, rebuilt beside the one that answers, activated, dropped."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from chassis.failures import Misconfigured
from chassis.local_files import LocalFiles
from contracts.chunks_file import BATCH
from contracts.facts import DocumentEmbedded, DocumentFailed, DocumentPurged, Fact, IndexActivated
from contracts.index import chunk_id, collection_name, shard_of
from embedder import indexes, repository
from embedder.building import IndexBusy, NothingBuilt, UnknownModel
from embedder.indexes import IndexSpec
from embedder.keeping import IndexRefused
from embedder.listing import ListIndexes
from embedder.rebuilding import RebuildDocument, _beginning_with, _groups
from embedder.repository import Piece, Place
from embedder.settings import EmbedderSettings
from embedder.shards import Shards
from embedder.tables import VectorIndex
from messaging import fences, taking
from messaging.finishing import Ending
from messaging.jobs import Job
from messaging.tables import OutboxRow
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.embedder.tests.at_work import AtWork, Document, Slow, a_document
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub

OTHER = "openai:text-embedding-3-large"


Changed = Callable[..., AtWork]


@pytest.fixture
def changed(settings: EmbedderSettings, engine: AsyncEngine, object_store: LocalFiles) -> Changed:
    """The embedder, started again with other settings."""

    def start(**changes: object) -> AtWork:
        return AtWork(settings.model_copy(update=changes), engine, object_store)

    return start


class Died(BaseException):
    """A process has ended in the midst of something."""


async def _nothing(*_: object) -> None: ...


async def die(*_: object, **__: object) -> None:
    raise Died


async def rebuild(embedder: AtWork, model: str | None = None) -> IndexSpec:
    """Have an index built, and activated."""
    begun = await embedder.parts.build(model, shards=2)
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    return begun


async def take_rebuilds(embedder: AtWork, count: int) -> list[Job]:
    async with embedder.transactions.driver() as driver:
        taken, _ = await taking.take(driver, kind="rebuild", lease=timedelta(minutes=1), most=count)
    return [each.job for each in taken]


async def rebuild_one(embedder: AtWork) -> None:
    """Do one rebuild job, and no more."""
    slow = await Slow.take(embedder, "rebuild")
    await slow.write()
    assert await slow.conclude() is Ending.WON


async def half_embedded(embedder: AtWork, document: Document, *, version: int) -> None:
    """Its first batch is done."""
    await embedder.split(document, version=version)
    await embedder.hear(document.chunked(version=version))
    slow = await Slow.take(embedder)
    await slow.write()
    assert await slow.conclude() is Ending.WON


async def test_the_first_index_is_made_whole_and_announced(embedder: AtWork) -> None:
    active = await embedder.active()
    there = await embedder.chroma.collections()
    ours = [there[collection_name(active.index_id, shard)] for shard in range(3)]
    assert {one.space for one in ours} == {"cosine"}
    assert await embedder.said(IndexActivated) == [
        IndexActivated(
            index_id=active.index_id, generation=1, model="openai:text-embedding-3-small", dimension=64, shards=3
        )
    ]
    assert await embedder.parts.keeper.check() is None


async def test_it_is_announced_again_at_each_start(
    embedder: AtWork, settings: EmbedderSettings, engine: AsyncEngine, object_store: LocalFiles
) -> None:
    again = AtWork(settings, engine, object_store)
    async with again.parts.keeper.running():
        pass
    await again.close()
    first, second = await embedder.said(IndexActivated)
    assert first == second


async def test_a_broker_that_forgot_the_announcement_can_be_told_again(embedder: AtWork) -> None:
    await embedder.active()
    kept = select(func.bool_and(OutboxRow.kept)).where(OutboxRow.type == IndexActivated.type)
    async with embedder.sessions() as session:
        assert await session.scalar(kept)


async def test_embedders_that_start_together_make_one_index(
    settings: EmbedderSettings, engine: AsyncEngine, object_store: LocalFiles
) -> None:
    several = [AtWork(settings, engine, object_store) for _ in range(3)]
    await asyncio.gather(*(one.parts.keeper.look() for one in several))
    assert list(await several[0].indexes()) == ["active"]
    assert len(await several[0].said(IndexActivated)) == 1
    await several[0].parts.shards.drop(await several[0].active())
    for one in several:
        await one.close()


async def test_a_rebuild_with_the_same_model_asks_no_provider(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    documents = [a_document(chunks=70), a_document(chunks=3)]
    for document in documents:
        await embedder.embed(document)
    calls, old = openai_stub.embeddings.seen.calls, await embedder.active()

    new = await rebuild(embedder)

    assert openai_stub.embeddings.seen.calls == calls
    assert (await embedder.active()).index_id == new.index_id
    assert (await embedder.indexes())["retired"].index_id == old.index_id
    for document in documents:
        assert await embedder.vectors(document, index=new) == await embedder.vectors(document, index=old)
        ours, theirs = await embedder.rows(document, index=new), await embedder.rows(document, index=old)
        assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert [fact.generation for fact in await embedder.said(IndexActivated)] == [1, 2]


async def test_the_old_index_answers_until_the_new_one_is_whole(embedder: AtWork) -> None:
    await embedder.embed(a_document())
    old = await embedder.active()
    new = await embedder.parts.build(None, shards=2)
    assert not await embedder.parts.keeper.activate()
    assert await embedder.active() == old
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id


async def test_one_job_copies_what_lies_in_the_same_collection_and_ends_the_jobs_for_it(embedder: AtWork) -> None:
    owner = uuid4()
    documents = [a_document(owner=owner) for _ in range(3)]
    for document in documents:
        await embedder.embed(document)
    new = await embedder.parts.build(None, shards=2)
    (job,) = await take_rebuilds(embedder, 1)
    await embedder.work("rebuild").run(job)
    states = [(await embedder.jobs(document, "rebuild"))[0].state for document in documents]
    assert sorted(states) == ["done", "done", "running"]
    assert [len(await embedder.vectors(document, index=new)) for document in documents] == [3, 3, 3]


async def test_jobs_that_end_last_and_together_each_have_the_index_looked_at(
    embedder: AtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await embedder.embed(a_document())
    await embedder.parts.build(None, shards=1)
    looks = list[None]()
    monkeypatch.setattr(embedder.parts.keeper, "look_soon", lambda: looks.append(None))
    taken = await take_rebuilds(embedder, 2)
    for job in taken:
        finish = await embedder.work("rebuild").run(job)
        async with embedder.transactions.begin() as session:
            await finish(session, await fences.lock(session, job.subject))
    assert len(looks) == 2, "though the other one was still running when the first one ended"


async def test_whoever_watches_a_rebuild_has_its_chunks_counted_now_and_then(
    embedder: AtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, counts = list[None](), repository.counts

    async def slowly(session: AsyncSession) -> dict[str, int]:
        counted.append(None)
        await asyncio.sleep(0.1)
        return await counts(session)

    monkeypatch.setattr(repository, "counts", slowly)
    listing = ListIndexes(embedder.sessions)
    for _ in range(3):
        await listing()
    assert len(counted) == 1
    new = await embedder.parts.build(None, shards=2)
    assert new.index_id in [index.index_id for index in (await listing()).items]
    assert len(counted) == 2, "an index that has another state is counted at once"


async def test_another_model_embeds_the_chunks_again_and_the_old_vectors_stay_beside(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    document = a_document(chunks=70)
    await embedder.embed(document)
    old = await embedder.active()
    new = await rebuild(embedder, OTHER)
    assert (new.model, new.dimension) == (OTHER, 3072)
    assert {len(vector) for vector in (await embedder.rows(document, index=new)).values()} == {3072}
    assert len(await embedder.vectors(document, index=new)) == 70
    assert len(await embedder.rows(document, index=old)) == 70
    assert openai_stub.embeddings.seen.texts.count(document.texts[0]) == 2


async def test_what_is_embedded_meanwhile_is_in_both(embedder: AtWork) -> None:
    await embedder.embed(a_document())
    old = await embedder.active()
    new = await embedder.parts.build(OTHER, shards=2)
    document = a_document(chunks=70)
    await embedder.embed(document)
    (_, said) = await embedder.said(DocumentEmbedded)
    assert set(said.indexes) == {old.index_id, new.index_id}
    assert len(await embedder.vectors(document, index=old)) == len(await embedder.vectors(document, index=new)) == 70


async def test_a_batch_that_did_not_write_the_new_index_is_not_ended(embedder: AtWork) -> None:
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    await slow.write()
    new = await embedder.parts.build(None, shards=2)
    with pytest.raises(Exception, match=r"index\.changed"):
        await slow.conclude()
    await slow.lose_lease()
    async with embedder.working("embed", "rebuild"):
        await embedder.settled()
    assert len(await embedder.vectors(document, index=new)) == 3
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id


async def test_a_document_half_embedded_when_a_rebuild_begins_is_whole_in_the_new_index(embedder: AtWork) -> None:
    document = a_document(chunks=130)
    await half_embedded(embedder, document, version=1)
    new = await embedder.parts.build(OTHER, shards=2)
    async with embedder.working("embed", "rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id
    assert len(await embedder.vectors(document, index=new)) == 130


async def test_a_document_deleted_during_a_rebuild_is_in_neither(embedder: AtWork) -> None:
    document, other = a_document(), a_document()
    await embedder.embed(document)
    await embedder.embed(other)
    await embedder.parts.build(None, shards=2)
    async with embedder.working("purge", "rebuild"):
        await embedder.hear(document.deleted())
        await embedder.settled()
        await embedder.make_due("purge")
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.said(DocumentPurged))[0].remaining == 0
    assert await embedder.nothing_is_left(document)
    assert len(await embedder.vectors(other)) == 3


async def test_a_deletion_reaches_the_retired_index_too(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    await rebuild(embedder)
    async with embedder.working("purge"):
        await embedder.hear(document.deleted())
        await embedder.settled()
    (purged,) = await embedder.said(DocumentPurged)
    assert purged.erased == 2 * 3 + 2 * 3 + 1
    assert await embedder.nothing_is_left(document)


class HeardWhileWriting(Shards):
    """Lets a fact be heard while vectors are on their way to Chroma."""

    def __init__(self, embedder: AtWork, fact: Fact) -> None:
        super().__init__(embedder.chroma)
        self._embedder = embedder
        self._fact = fact

    async def write_many(self, index: IndexSpec, pieces: Sequence[Piece]) -> None:
        await super().write_many(index, pieces)
        await self._embedder.hear(self._fact)


async def rebuild_and_hear(embedder: AtWork, fact: Fact) -> None:
    """Do one rebuild job, and let the fact be heard while it writes."""
    shards = HeardWhileWriting(embedder, fact)
    rebuild = RebuildDocument(embedder.sessions, embed=embedder.parts.embed, shards=shards)
    await rebuild((await Slow.take(embedder, "rebuild")).job)


@pytest.mark.parametrize("model", [None, OTHER])
async def test_what_a_rebuild_wrote_too_late_is_erased_again(embedder: AtWork, model: str | None) -> None:
    document = a_document()
    await embedder.embed(document)
    new = await embedder.parts.build(model, shards=2)
    await rebuild_and_hear(embedder, document.deleted())
    assert await embedder.vectors(document, index=new) == set()
    assert await embedder.rows(document, index=new) == {}


@pytest.mark.parametrize("model", [None, OTHER])
async def test_a_rebuild_goes_on_with_the_next_version_when_the_one_before_it_becomes_too_late(
    embedder: AtWork, monkeypatch: pytest.MonkeyPatch, model: str | None
) -> None:
    monkeypatch.setattr("embedder.rebuilding.BYTES_AT_ONCE", 0)  # so that a call takes one batch, as of larger vectors
    document = a_document(chunks=BATCH + 6)
    await embedder.embed(document)
    await half_embedded(embedder, document, version=2)
    new = await embedder.parts.build(model, shards=2)
    async with embedder.working("embed"):
        await embedder.settled()
    await rebuild_and_hear(embedder, document.ready(2))
    async with embedder.working("drop"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id
    expected = {chunk_id(document.id, 2, ordinal) for ordinal in range(BATCH + 6)}
    assert await embedder.vectors(document) == (await embedder.rows(document)).keys() == expected


def test_documents_are_copied_in_groups_of_about_one_call_and_large_ones_alone() -> None:
    sizes = [300, 600, 200, 5000, 10]
    places = [Place(UUID(int=number), UUID(int=9), size) for number, size in enumerate(sizes)]
    assert [[place.chunks for place in group] for group in _groups(places, 1000)] == [[300, 600], [200], [5000], [10]]
    begun = [place.document.int for place in _beginning_with(UUID(int=2), places)]
    assert begun == [2, 3, 4, 0, 1]


async def test_lower_versions_are_not_copied(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.embed(document, version=2)
    await embedder.hear(document.ready(2))
    new = await embedder.parts.build(None, shards=2)
    async with embedder.working("rebuild"):
        await embedder.settled()
    assert all(name.split(":")[1] == "2" for name in await embedder.vectors(document, index=new))
    async with embedder.working("drop"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id


async def test_a_rebuild_that_was_interrupted_goes_on_where_it_was(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    document = a_document(chunks=130)
    await embedder.embed(document)
    await embedder.parts.build(OTHER, shards=2)
    before = openai_stub.embeddings.seen.calls
    openai_stub.embeddings.then(Behaviour(), Behaviour(status=503))
    async with embedder.working("rebuild"):
        async with asyncio.timeout(60):
            while openai_stub.embeddings.seen.calls < before + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await embedder.settled()
        await embedder.make_due("rebuild")
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).model == OTHER
    assert openai_stub.embeddings.seen.texts.count(document.texts[0]) == 2


async def test_the_same_rebuild_twice_is_one_and_another_one_waits(embedder: AtWork) -> None:
    await embedder.embed(a_document())
    first = await embedder.parts.build(None, shards=2)
    assert (await embedder.parts.build(None, shards=2)).index_id == first.index_id
    with pytest.raises(IndexBusy):
        await embedder.parts.build(OTHER, shards=2)


UNKNOWN = "openai:a-model-of-unknown-dimension"


@pytest.mark.parametrize(("model", "dimension"), [(UNKNOWN, 1536), (None, 32), ("openai:text-embedding-3-small", 32)])
async def test_a_dimension_that_is_told_is_that_of_the_new_index(
    embedder: AtWork, model: str | None, dimension: int
) -> None:
    document = a_document()
    await embedder.embed(document)
    begun = await embedder.parts.build(model, dimension=dimension, shards=2)
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    active = await embedder.active()
    assert (active.index_id, active.dimension) == (begun.index_id, dimension)
    assert {len(vector) for vector in (await embedder.rows(document)).values()} == {dimension}


async def test_the_dimension_that_answers_asks_no_provider(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    await embedder.parts.build("openai:text-embedding-3-small", dimension=64, shards=2)
    assert openai_stub.embeddings.seen.calls == 0


@pytest.mark.parametrize(
    ("model", "dimension", "advice"),
    [
        (UNKNOWN, None, "how many numbers a vector of .* has: say it with --dimension"),
        ("local", 64, "local gives 384 numbers a vector: leave --dimension out"),
    ],
)
async def test_a_dimension_that_is_missing_or_wrong_is_refused_with_the_option_to_mend_it(
    embedder: AtWork, model: str, dimension: int | None, advice: str
) -> None:
    with pytest.raises(UnknownModel, match=advice):
        await embedder.parts.build(model, dimension=dimension, shards=2)


@pytest.mark.parametrize("model", ["nonsense", UNKNOWN, "openai:"])
async def test_a_model_that_cannot_be_used_is_refused_before_anything_begins(embedder: AtWork, model: str) -> None:
    with pytest.raises(UnknownModel):
        await embedder.parts.build(model, shards=2)
    assert list(await embedder.indexes()) == ["active"]


async def test_a_model_that_does_not_answer_is_refused_before_anything_begins(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    openai_stub.embeddings.usual = Behaviour(status=401)
    with pytest.raises(Misconfigured):
        await embedder.parts.build(OTHER, shards=2)
    assert list(await embedder.indexes()) == ["active"]


async def test_a_build_that_is_called_off_leaves_its_jobs_nothing_to_do_and_makes_room_for_another(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    document = a_document()
    await embedder.embed(document)
    active, begun = await embedder.active(), await embedder.parts.build(OTHER, shards=2)
    (retired,) = await embedder.parts.build.call_off()
    assert (retired.index_id, retired.state) == (begun.index_id, "retired")
    calls = openai_stub.embeddings.seen.calls
    async with embedder.working("rebuild"):
        await embedder.settled()
    assert [job.state for job in await embedder.jobs(document, "rebuild")] == ["done"]
    assert openai_stub.embeddings.seen.calls == calls
    await embedder.parts.keeper.look()
    assert await embedder.active() == active
    await embedder.embed(a_document())
    assert (await embedder.parts.build(None, shards=2)).generation == begun.generation + 1


async def test_a_build_that_is_called_off_before_its_collections_are_made_stays_so(
    embedder: AtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = embedder.parts.shards.create

    async def create_meanwhile(index: IndexSpec) -> None:
        await embedder.parts.build.call_off()
        await create(index)

    monkeypatch.setattr(embedder.parts.shards, "create", create_meanwhile)
    await embedder.parts.build(None, shards=2)
    assert set(await embedder.indexes()) == {"active", "retired"}


async def test_what_was_called_off_while_a_job_wrote_is_written_no_further(embedder: AtWork) -> None:
    document = a_document(chunks=130)
    await embedder.embed(document)
    new = await embedder.parts.build(OTHER, shards=2)

    class CalledOffWhileWriting(Shards):
        async def write_many(self, index: IndexSpec, pieces: Sequence[Piece]) -> None:
            await super().write_many(index, pieces)
            await embedder.parts.build.call_off()

    rebuild = RebuildDocument(
        embedder.sessions, embed=embedder.parts.embed, shards=CalledOffWhileWriting(embedder.chroma)
    )
    await rebuild((await Slow.take(embedder, "rebuild")).job)
    assert await embedder.rows(document, index=new) == {}
    assert len(await embedder.vectors(document, index=new)) == BATCH


async def test_without_a_build_or_without_another_index_there_is_nothing_to_call_off(embedder: AtWork) -> None:
    with pytest.raises(NothingBuilt):
        await embedder.parts.build.call_off()
    await embedder.embed(a_document())
    await embedder.parts.build(None, shards=2)
    async with embedder.sessions.begin() as session:
        await session.execute(update(VectorIndex).where(VectorIndex.state == "active").values(state="retired"))
    with pytest.raises(NothingBuilt):
        await embedder.parts.build.call_off()


async def test_a_document_that_only_the_new_model_refuses_is_embedded_and_keeps_the_new_index_from_answering(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    before, document = a_document(), a_document()
    await embedder.embed(before)
    old, new = await embedder.active(), await embedder.parts.build(OTHER, shards=2)
    await embedder.put_off(before, "rebuild")
    refuse_the_next_two(openai_stub)

    await embedder.embed(document)
    said = (await embedder.said(DocumentEmbedded))[-1]
    assert (said.document_id, said.indexes) == (document.id, (old.index_id,))
    async with embedder.working("rebuild"):
        await embedder.settled()

    assert not await embedder.parts.keeper.activate()
    building, _ = (await ListIndexes(embedder.sessions)()).items
    assert (building.index_id, building.done, building.total, building.refused) == (new.index_id, 0, 6, 1)

    async with embedder.working("rebuild"):
        await embedder.make_due("rebuild")
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id
    assert len(await embedder.vectors(document)) == 3


def refuse_the_next_two(provider: OpenAIStub) -> None:
    """Of the model of the newest index, which is asked first: the batch, and the rebuild of it."""
    provider.embeddings.then(Behaviour(status=400), Behaviour(), Behaviour(status=400))


@pytest.mark.parametrize("status", [401, 503])
async def test_no_document_waits_for_a_provider_that_only_the_new_index_needs(
    embedder: AtWork, openai_stub: OpenAIStub, status: int
) -> None:
    old, new = await embedder.active(), await embedder.parts.build(OTHER, shards=2)
    document = a_document()
    openai_stub.embeddings.then(Behaviour(status=status))
    await embedder.embed(document)
    (said,) = await embedder.said(DocumentEmbedded)
    assert said.indexes == (old.index_id,)
    assert await embedder.rows(document, index=new) == {}
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id
    assert len(await embedder.vectors(document)) == 3


async def test_a_batch_that_is_missed_after_another_was_brought_in_is_brought_in_as_well(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    new, document = await embedder.parts.build(OTHER, shards=2), a_document(chunks=2 * BATCH)
    await embedder.split(document)
    await embedder.hear(document.chunked())
    for batch in [await Slow.take(embedder), await Slow.take(embedder)]:
        openai_stub.embeddings.then(Behaviour(status=503))
        await batch.write()
        await batch.conclude()
        async with embedder.working("rebuild"), asyncio.timeout(30):
            while {job.state for job in await embedder.jobs(document, "rebuild")} - {"done"}:  # noqa: ASYNC110 - a table
                await asyncio.sleep(0.01)
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id
    assert len(await embedder.vectors(document)) == 2 * BATCH


async def test_a_document_that_the_new_model_refuses_fails_if_that_answers_by_then(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    await embedder.parts.build(OTHER, shards=2)
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    openai_stub.embeddings.then(Behaviour(status=400))
    await slow.write()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).model == OTHER
    with pytest.raises(Exception, match=r"index\.changed"):
        await slow.conclude()
    await slow.lose_lease()
    openai_stub.embeddings.then(Behaviour(status=400))
    async with embedder.working("embed"):
        await embedder.settled()
    assert [said.code for said in await embedder.said(DocumentFailed)] == ["provider.refused"]


async def test_the_old_index_is_dropped_a_day_later(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    old = await embedder.active()
    await rebuild(embedder)
    await embedder.drop_retired()
    assert "retired" in await embedder.indexes()
    async with embedder.sessions.begin() as session:
        await session.execute(
            update(VectorIndex)
            .where(VectorIndex.index_id == old.index_id)
            .values(retired_at=func.now() - timedelta(days=1, minutes=1))
        )
    await embedder.drop_retired()
    assert list(await embedder.indexes()) == ["active"]
    assert not any(name.startswith(old.index_id) for name in await embedder.chroma.collections())
    assert await embedder.rows(document, index=old) == {}
    assert len(await embedder.vectors(document)) == 3


async def test_an_index_that_chroma_has_lost_is_built_again_from_the_tables(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    document = a_document(chunks=70)
    await embedder.embed(document)
    lost, calls = await embedder.active(), openai_stub.embeddings.seen.calls
    await embedder.parts.shards.drop(lost)
    await embedder.parts.keeper.look()
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id != lost.index_id
    assert len(await embedder.vectors(document)) == 70
    assert openai_stub.embeddings.seen.calls == calls


async def test_an_empty_index_that_chroma_has_lost_is_made_again(embedder: AtWork) -> None:
    active = await embedder.active()
    await embedder.parts.shards.drop(active)
    await embedder.parts.keeper.look()
    assert await embedder.active() == active
    await embedder.embed(a_document())


def owner_in(shard: int) -> UUID:
    """Somebody whose vectors lie in this one of two shards."""
    return next(owner for owner in iter(uuid4, None) if shard_of(owner, 2) == shard)


async def test_an_index_that_is_lost_while_it_is_built_is_begun_anew(embedder: AtWork) -> None:
    # In two shards: whoever copies one of them would copy the other as well, and the index would be whole.
    documents = [a_document(owner=owner_in(shard)) for shard in range(2)]
    for document in documents:
        await embedder.embed(document)
    begun = await embedder.parts.build(None, shards=2)
    await embedder.put_off(documents[0], "rebuild")
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.shards.drop(begun)
    await embedder.parts.keeper.look()
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    active = await embedder.active()
    assert active.index_id != begun.index_id
    assert [len(await embedder.vectors(document, index=active)) for document in documents] == [3, 3]


async def lose_all(embedder: AtWork) -> None:
    """Let Chroma forget every collection of ours."""
    for index in (await embedder.indexes()).values():
        await embedder.parts.shards.drop(index)


async def being_built_after(embedder: AtWork, other: IndexSpec) -> IndexSpec:
    """What is being built, when that was begun after the other one. The embedder looks by itself as well."""
    async with asyncio.timeout(60):
        while True:
            await embedder.parts.keeper.look()
            found = (await embedder.indexes()).get("building")
            if found is not None and found.generation > other.generation:
                return found


async def test_when_all_is_lost_the_index_that_answers_is_restored_before_the_one_that_was_being_built(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    document = a_document(owner=owner_in(0))
    for one in (document, a_document(owner=owner_in(1))):
        await embedder.embed(one)
    old, building = await embedder.active(), await embedder.parts.build(OTHER, shards=2)
    await rebuild_one(embedder)
    await lose_all(embedder)
    openai_stub.embeddings.usual = Behaviour(status=503)

    await embedder.parts.keeper.look()
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()

    restored = await embedder.active()
    assert restored.generation > building.generation
    assert restored.same_vectors(old)
    assert len(await embedder.vectors(document)) == 3

    successor = await being_built_after(embedder, restored)
    assert successor.same_vectors(building)
    openai_stub.embeddings.usual = Behaviour()
    async with embedder.working("rebuild"):
        await embedder.make_due("rebuild")
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == successor.index_id


@pytest.mark.parametrize(
    ("model", "all_is_lost", "states"),
    [
        (None, True, ["active", "creating", "retired"]),
        (OTHER, False, ["active", "building"]),
    ],
    ids=["its copy was lost as well", "another model's index is being built and is not lost"],
)
async def test_a_lost_index_is_not_begun_anew_where_another_will_answer_instead(
    embedder: AtWork, monkeypatch: pytest.MonkeyPatch, model: str | None, states: list[str], *, all_is_lost: bool
) -> None:
    for shard in range(2):
        await embedder.embed(a_document(owner=owner_in(shard)))
    lost, building = await embedder.active(), await embedder.parts.build(model, shards=2)
    await rebuild_one(embedder)
    for index in [lost, building] if all_is_lost else [lost]:
        await embedder.parts.shards.drop(index)
    monkeypatch.setattr(embedder.parts.build, "begin_to_write", _nothing)
    await embedder.parts.keeper.look()
    async with embedder.sessions() as session:
        assert sorted(index.state for index in await indexes.existing(session)) == states


async def test_a_lost_build_is_begun_anew_though_the_provider_is_away(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    for shard in range(2):
        await embedder.embed(a_document(owner=owner_in(shard)))
    building = await embedder.parts.build(OTHER, shards=2)
    await rebuild_one(embedder)
    await embedder.parts.shards.drop(building)
    openai_stub.embeddings.usual = Behaviour(status=503)
    await embedder.parts.keeper.look()
    assert (await embedder.indexes())["building"].same_vectors(building)
    assert (await embedder.indexes())["retired"].index_id == building.index_id


async def test_a_process_that_dies_over_a_lost_build_leaves_it_to_the_next(
    embedder: AtWork, changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shard in range(2):
        await embedder.embed(a_document(owner=owner_in(shard)))
    building = await embedder.parts.build(OTHER, shards=2)
    await rebuild_one(embedder)
    await embedder.parts.shards.drop(building)
    with monkeypatch.context() as deadly:
        deadly.setattr("embedder.indexes.begin", die)
        with pytest.raises(Died):
            await embedder.parts.keeper.look()
    again = changed(embedding_model=OTHER, embedding_dimension=None)
    async with again.parts.keeper.running():
        assert (await again.indexes())["building"].same_vectors(building)
    await again.close()


async def test_an_older_index_than_the_one_that_answers_never_takes_its_place(embedder: AtWork) -> None:
    building = await embedder.parts.build(OTHER, shards=2)
    active = await embedder.active()
    async with embedder.sessions.begin() as session:
        younger = VectorIndex.index_id == active.index_id
        await session.execute(update(VectorIndex).where(younger).values(generation=building.generation + 1))
    assert not await embedder.parts.keeper.activate()


async def test_an_index_never_answers_before_it_has_all_even_if_no_other_does(embedder: AtWork) -> None:
    document = a_document()
    await embedder.embed(document)
    old = await embedder.active()
    new = await embedder.parts.build(None, shards=2)
    async with embedder.sessions.begin() as session:
        await session.execute(update(VectorIndex).where(VectorIndex.index_id == old.index_id).values(state="retired"))
    assert not await embedder.parts.keeper.activate()
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    assert (await embedder.active()).index_id == new.index_id
    assert len(await embedder.vectors(document)) == 3


@pytest.mark.parametrize(
    "changes", [{"embedding_model": OTHER, "embedding_dimension": None}, {"embedding_dimension": 32}]
)
async def test_another_model_than_the_indexes_refuses_to_start_and_says_what_to_do(
    embedder: AtWork, changed: Changed, changes: dict[str, object]
) -> None:
    other = changed(**changes)
    advice = r"DOCQA_EMBEDDING_DIMENSION=64\..*docqa reindex --model openai:text-embedding-3-\w+ --dimension \d+"
    with pytest.raises(IndexRefused, match=advice):
        async with other.parts.keeper.running():
            pass
    await other.close()


async def test_the_model_of_the_index_that_is_being_built_may_start(embedder: AtWork, changed: Changed) -> None:
    await embedder.embed(a_document())
    await embedder.parts.build(OTHER, shards=2)
    other = changed(embedding_model=OTHER, embedding_dimension=None)
    async with other.parts.keeper.running():
        pass
    await other.close()


async def test_a_chroma_that_is_away_at_the_start_is_waited_for(
    embedder: AtWork, changed: Changed, tmp_path: Path
) -> None:
    away = changed(chroma_url="http://127.0.0.1:1")
    async with away.parts.keeper.running():
        assert await away.parts.keeper.check() == "The index cannot be reached."
    await away.close()


async def test_a_collection_that_is_not_ours_refuses_to_start(
    embedder: AtWork, changed: Changed, settings: EmbedderSettings
) -> None:
    active = await embedder.active()
    await embedder.parts.shards.drop(active)
    await embedder.chroma.create(collection_name(active.index_id, 0), {"owner": "somebody else"})
    other = changed()
    with pytest.raises(IndexRefused, match="was not made by docqa"):
        async with other.parts.keeper.running():
            pass
    await other.close()


async def test_a_collection_of_another_dimension_refuses_to_start(embedder: AtWork, changed: Changed) -> None:
    await embedder.embed(a_document())
    active = await embedder.active()
    with pytest.raises(Exception, match="has 64 numbers a vector, the index 65"):
        await embedder.parts.shards.missing([replace(active, dimension=65)])

"""The life of an index: made, rebuilt beside the one that answers, activated, dropped."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from chassis.failures import Misconfigured
from chassis.objects import LocalFiles
from contracts.facts import DocumentEmbedded, DocumentPurged, IndexActivated
from contracts.index import collection_name, shard_of
from embedder import repository
from embedder.building import IndexBusy, UnknownModel
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
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.embedder.tests.at_work import AtWork, Document, Slow, a_document
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub

OTHER = "openai:text-embedding-3-large"


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
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    await slow.write()
    assert await slow.conclude() is Ending.WON
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


class DeletedWhileWriting(Shards):
    """Lets a document be deleted while its vectors are on their way to Chroma."""

    def __init__(self, embedder: AtWork, document: Document) -> None:
        super().__init__(embedder.chroma)
        self._embedder = embedder
        self._document = document

    async def write_many(self, index: IndexSpec, pieces: Sequence[Piece]) -> None:
        await super().write_many(index, pieces)
        await self._embedder.hear(self._document.deleted())


@pytest.mark.parametrize("model", [None, OTHER])
async def test_what_a_rebuild_wrote_too_late_is_erased_again(embedder: AtWork, model: str | None) -> None:
    document = a_document()
    await embedder.embed(document)
    new = await embedder.parts.build(model, shards=2)
    rebuild = RebuildDocument(
        embedder.sessions, embed=embedder.parts.embed, shards=DeletedWhileWriting(embedder, document)
    )
    await rebuild((await Slow.take(embedder, "rebuild")).job)
    assert await embedder.vectors(document, index=new) == set()
    assert await embedder.rows(document, index=new) == {}


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


@pytest.mark.parametrize("model", ["nonsense", "openai:a-model-of-unknown-dimension", "openai:"])
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


Changed = Callable[..., AtWork]


@pytest.fixture
def changed(settings: EmbedderSettings, engine: AsyncEngine, object_store: LocalFiles) -> Changed:
    """The embedder, started again with other settings."""

    def start(**changes: object) -> AtWork:
        return AtWork(settings.model_copy(update=changes), engine, object_store)

    return start


@pytest.mark.parametrize(
    "changes", [{"embedding_model": OTHER, "embedding_dimension": None}, {"embedding_dimension": 32}]
)
async def test_another_model_than_the_indexes_refuses_to_start_and_says_what_to_do(
    embedder: AtWork, changed: Changed, changes: dict[str, object]
) -> None:
    other = changed(**changes)
    with pytest.raises(IndexRefused, match="docqa reindex --model openai:text-embedding-3-"):
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

"""Erased vectors linger in Chroma's graphs: an index in which there are many of them is built anew, unasked."""

from datetime import timedelta

import pytest
from embedder import lingering
from embedder.indexes import BUILDING, IndexSpec
from embedder.tables import ErasedVectors, VectorIndex
from sqlalchemy import func, select, update

from services.embedder.tests.at_work import AtWork, Document, a_document
from tests.stubs.providers import OpenAIStub


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGERING", 4)


async def counted(embedder: AtWork) -> dict[str, list[int]]:
    """By index."""
    async with embedder.sessions() as session:
        rows = list(await session.scalars(select(ErasedVectors).order_by(ErasedVectors.shard)))
    return {
        index_id: [row.vectors for row in rows if row.index_id == index_id] for index_id in {r.index_id for r in rows}
    }


async def renewed(embedder: AtWork) -> IndexSpec | None:
    """The index that is being built, after somebody has looked whether one should be."""
    async with embedder.sessions() as session:
        await embedder.parts.keeper.renew(session)
        await session.commit()
    return (await embedder.indexes()).get(BUILDING)


async def with_some_erased(embedder: AtWork, *, erased: int, left: int) -> Document:
    """What is left, in the same collection."""
    stays = a_document(chunks=left)
    goes = a_document(chunks=erased, owner=stays.owner)
    for document in (stays, goes):
        await embedder.embed(document)
    await embedder.purge(goes)
    return stays


async def test_what_is_erased_is_counted_collection_by_collection(embedder: AtWork) -> None:
    document = a_document(chunks=5)
    neighbour = a_document(chunks=2, owner=document.owner)
    for one in (document, neighbour):
        await embedder.embed(one)
        await embedder.purge(one)
    assert await counted(embedder) == {(await embedder.active()).index_id: [7]}


async def test_a_lower_version_that_is_dropped_counts(embedder: AtWork) -> None:
    document = a_document(chunks=3)
    for version in (1, 2):
        await embedder.embed(document, version=version)
    await embedder.hear(document.ready(version=2))
    async with embedder.working("drop"):
        await embedder.settled()
    assert await counted(embedder) == {(await embedder.active()).index_id: [3]}


async def test_an_index_in_which_more_lingers_than_is_there_is_built_anew(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    stays = await with_some_erased(embedder, erased=5, left=4)
    old, calls = await embedder.active(), openai_stub.embeddings.seen.calls

    new = await build_anew(embedder)

    assert (await embedder.active()).index_id == new.index_id
    assert new.same_vectors(old)
    assert new.shards == old.shards
    assert len(await embedder.vectors(stays)) == 4
    assert openai_stub.embeddings.seen.calls == calls


@pytest.mark.parametrize(("erased", "left"), [(5, 6), (3, 2)], ids=["more is there", "little lingers"])
async def test_otherwise_it_is_left_as_it_is(embedder: AtWork, erased: int, left: int) -> None:
    await with_some_erased(embedder, erased=erased, left=left)
    assert await renewed(embedder) is None


async def test_while_another_is_built_none_is_begun(embedder: AtWork) -> None:
    await with_some_erased(embedder, erased=5, left=4)
    async with embedder.sessions() as session:
        assert await lingering.overgrown(session) is not None
        await embedder.parts.build("openai:text-embedding-3-large", shards=2)
        assert await lingering.overgrown(session) is None


async def test_the_next_time_is_when_the_old_one_has_been_dropped(embedder: AtWork) -> None:
    stays = await with_some_erased(embedder, erased=5, left=4)
    await build_anew(embedder)
    more = a_document(chunks=5, owner=stays.owner)
    await embedder.embed(more)
    await embedder.purge(more)
    assert await renewed(embedder) is None

    await a_day_later(embedder)

    assert await counted(embedder) == {(await embedder.active()).index_id: [5]}
    assert await renewed(embedder) is not None


async def build_anew(embedder: AtWork) -> IndexSpec:
    new = await renewed(embedder)
    assert new is not None
    async with embedder.working("rebuild"):
        await embedder.settled()
    await embedder.parts.keeper.look()
    return new


async def a_day_later(embedder: AtWork) -> None:
    async with embedder.sessions.begin() as session:
        await session.execute(update(VectorIndex).values(retired_at=func.now() - timedelta(days=2)))
    await embedder.drop_retired()


async def test_what_lingered_is_not_carried_over(embedder: AtWork) -> None:
    await with_some_erased(embedder, erased=5, left=4)
    await build_anew(embedder)
    await a_day_later(embedder)
    assert await counted(embedder) == {}
    assert await renewed(embedder) is None

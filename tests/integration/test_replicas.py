"""Two and more replicas of every service do exactly what one of each does."""

import asyncio

import pytest

from tests.e2e.person import Json, Person
from tests.integration.cluster import REPLICAS, Cluster, mistakes
from tests.integration.readers import all_ready, chunks_of, elsewhere, owner_of, uploads

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

SEEDS = list(range(100, 106))
LONG = 777
"""More than a hundred chunks: batches for several embedders."""


async def test_many_replicas_give_exactly_what_one_of_each_gives(cluster: Cluster) -> None:
    await cluster.shrink()
    async with Person(cluster.stack.url) as ada:
        await ada.signs_up()
        alone = await _sent([ada])
        await all_ready(ada, list(alone.values()))
        expected = await _results(ada, alone)
        assert await mistakes(cluster, owner_of(ada), list(alone.values())) == []

    # Others join while documents are on their way: their groups are rebalanced.
    async with Person(cluster.stack.url) as eve:
        await eve.signs_up()
        joining = asyncio.create_task(_grow(cluster))
        together = await _sent([eve])
        await joining
        there = [elsewhere(eve, url) for url in cluster.gateways]
        more = await uploads(there, [seed + 1000 for seed in SEEDS])
        await all_ready(there[-1], [*together.values(), *more.values()])
        assert await mistakes(cluster, owner_of(eve), [*together.values(), *more.values()]) == []
        for gateway in there:
            assert await _results(gateway, together) == expected

    # One leaves in order, one dies.
    async with Person(cluster.stack.url) as bob:
        await bob.signs_up()
        sending = asyncio.create_task(uploads([bob], SEEDS))
        one, other, *_ = [replica for replica in cluster.replicas if replica.name == "embedder"]
        await asyncio.gather(cluster.remove(one), cluster.remove(other, kill=True))
        shrunk = await sending
        await all_ready(bob, list(shrunk.values()))
        assert await mistakes(cluster, owner_of(bob), list(shrunk.values())) == []
        assert await _results(bob, shrunk) == {seed: expected[seed] for seed in SEEDS}


async def test_a_stream_goes_on_at_another_gateway(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada:
        await ada.signs_up()
        (first,) = (await uploads([ada], [1])).values()
        seen, last = [], None
        async with ada.watching() as events:
            async for event in events:
                seen.append((event.data["id"], event.data["status"]))
                last = event.id
                if seen[-1] == (first, "ready"):
                    break
        missed = await uploads([ada], [2, 3])
        await all_ready(ada, list(missed.values()))
        later = await uploads([ada], [4, 5])

        async with elsewhere(ada, there).watching(last) as events:
            heard: dict[str, str] = {}
            async for event in events:
                heard[event.data["id"]] = event.data["status"]
                if heard == dict.fromkeys([*missed.values(), *later.values()], "ready"):
                    return
    raise AssertionError(heard)


async def test_a_document_deleted_at_one_gateway_is_hidden_at_the_other_and_gone(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada:
        await ada.signs_up()
        documents = await uploads([ada], [11, 12])
        await all_ready(ada, list(documents.values()))
        other = elsewhere(ada, there)
        assert "Number 11" in (await other.asks("What is the keeper of house 11 called?"))["answer"]

        deletion = await ada.deletes(documents[11])

        assert "Number 11" not in (await other.asks("What is the keeper of house 11 called?"))["answer"]
        async with asyncio.timeout(60):
            while receipt := (await other.http.get(f"/api/deletions/{deletion['deletion_id']}")).json():
                if receipt["completed_at"]:
                    break
                await asyncio.sleep(0.1)
        assert {store: found["remaining"] for store, found in receipt["stores"].items()} == dict.fromkeys(
            ("files", "ingest", "embedder", "qa"), 0
        )
        assert "Number 12" in (await other.asks("What is the keeper of house 12 called?"))["answer"]


async def _grow(cluster: Cluster) -> None:
    """In two steps, so that every group is rebalanced more than once."""
    await cluster.scale({"embedder": 2, "qa": 2})
    await cluster.scale(REPLICAS)


async def _sent(people: list[Person]) -> dict[int, str]:
    return {**await uploads(people, SEEDS), **await uploads(people, [LONG], sentences=1000)}


async def _results(person: Person, documents: dict[int, str]) -> dict[int, Json]:
    """What can be seen of each document, without what differs between two of them by its nature."""
    return {seed: await _result(person, seed, document) for seed, document in documents.items()}


async def _result(person: Person, seed: int, document: str) -> Json:
    state = (await person.document(document)).json()
    answer = await person.asks(f"What is the keeper of house {seed} called?", document_ids=[document])
    return {
        **{name: state[name] for name in ("status", "version", "pages", "chunk_count", "embedded_count")},
        "chunks": await chunks_of(person, document),
        "answer": answer["answer"],
        "sources": [(source["page"], source["cited"], source["text"]) for source in answer["sources"]],
    }

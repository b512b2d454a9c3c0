"""Two and more replicas of every service do exactly what one of each does."""

import asyncio

import pytest

from tests.e2e.person import Json, Person
from tests.e2e.waiting import eventually
from tests.integration.auditing import mistakes
from tests.integration.cluster import REPLICAS, Cluster
from tests.integration.people import all_ready, elsewhere, owner_of, results, uploads
from tests.stubs.behaviour import Behaviour

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SHORT = list(range(100, 108))
LONG = [777, 778, 779]
"""About a hundred chunks each: batches for several embedders."""
SENTENCES = 900

IN_HAND = "SELECT count(*) AS jobs FROM jobs WHERE state = 'running' AND kind = :kind"


async def test_many_replicas_give_exactly_what_one_of_each_gives(cluster: Cluster) -> None:
    await cluster.shrink()
    expected = await _expected(cluster)

    # Others join while documents are on their way: every group is rebalanced, more than once.
    async with Person(cluster.stack.url) as eve:
        await eve.signs_up()
        joining = asyncio.create_task(_grow(cluster))
        documents = await _sent([eve])
        await joining
        async with elsewhere(eve, cluster.gateways[1]) as there:
            more = await uploads([eve, there], [seed + 1000 for seed in SHORT])
            await all_ready(there, len(documents) + len(more))
            assert await mistakes(cluster, owner_of(eve), [*documents.values(), *more.values()]) == []
            assert await results(there, documents) == expected
            assert await results(eve, documents) == expected


async def test_replicas_come_and_go_in_mid_work(scaled: Cluster) -> None:
    expected = await _expected(scaled)
    async with Person(scaled.stack.url) as ada:
        await ada.signs_up()
        scaled.provider.embeddings.usual = Behaviour(delay=2)
        documents = await _sent([ada])
        await _in_hand(scaled, "embedder", "embed", at_least=4)

        killed = [*scaled.of("embedder")[:2], *scaled.of("ingest"), *scaled.of("gateway")]
        ended = [scaled.of("embedder")[2], *scaled.of("qa"), *scaled.of("auth")]
        for replica in killed:
            scaled.kill(replica)
        await asyncio.gather(*map(scaled.remove, ended))
        more = await uploads([ada], [seed + 1000 for seed in SHORT])
        await scaled.scale(REPLICAS)

        await all_ready(ada, len(documents) + len(more))
        assert await mistakes(scaled, owner_of(ada), [*documents.values(), *more.values()]) == []
        async with elsewhere(ada, scaled.gateways[1]) as there:
            assert await results(there, documents) == expected


async def _expected(cluster: Cluster) -> dict[int, Json]:
    """What one person sees of the documents, with as many replicas as there are."""
    async with Person(cluster.stack.url) as somebody:
        await somebody.signs_up()
        documents = await _sent([somebody])
        await all_ready(somebody, len(documents))
        assert await mistakes(cluster, owner_of(somebody), documents.values()) == []
        return await results(somebody, documents)


async def _sent(people: list[Person]) -> dict[int, str]:
    return {**await uploads(people, LONG, sentences=SENTENCES), **await uploads(people, SHORT)}


async def _grow(cluster: Cluster) -> None:
    await cluster.scale({"embedder": 2, "qa": 2})
    await cluster.scale(REPLICAS)


async def _in_hand(cluster: Cluster, service: str, kind: str, *, at_least: int) -> None:
    async def enough() -> bool:
        (row,) = await cluster.rows(service, IN_HAND, kind=kind)
        return bool(row["jobs"] >= at_least)

    await eventually(enough)

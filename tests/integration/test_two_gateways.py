"""It does not matter which of two gateways somebody speaks to, and not when she goes to the other one."""

import asyncio
import itertools

import pytest

from tests.e2e.person import Event, Person
from tests.integration.cluster import Cluster
from tests.integration.people import a_file, all_ready, elsewhere, uploads

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

DOCUMENTS = 12
A_FEW = 3
ORDER = ["uploaded", "parsing", "embedding", "ready"]


async def test_a_stream_goes_from_gateway_to_gateway_and_misses_nothing_and_repeats_nothing(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada:
        await ada.signs_up()
        async with elsewhere(ada, there) as also:
            sending = asyncio.create_task(uploads([ada, also], range(DOCUMENTS)))
            heard: list[Event] = []
            people = itertools.cycle([ada, also])
            while _ready(heard) < DOCUMENTS:
                await _hears_a_few(next(people), heard)
            documents = await sending

            positions = [int((event.id or "").rpartition("-")[2]) for event in heard]
            assert positions == sorted(set(positions)), "in order, and nothing twice"
            for document in documents.values():
                of_it = [event.data for event in heard if event.data["id"] == document]
                places = [ORDER.index(data["status"]) for data in of_it]
                assert places == sorted(places)
                assert of_it[-1] == await also.gets(f"/api/docs/{document}"), "the last word is the state"


async def test_the_same_file_at_both_at_once_is_one_document(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada:
        await ada.signs_up()
        async with elsewhere(ada, there) as also:
            for seed in range(20, 25):
                (one,), (other,) = await asyncio.gather(ada.uploads(a_file(seed)), also.uploads(a_file(seed)))
                assert one["id"] == other["id"]
                assert sorted([one["duplicate"], other["duplicate"]]) == [False, True]
            await all_ready(also, 5)


async def test_a_document_deleted_at_one_is_hidden_at_the_other_and_gone(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada:
        await ada.signs_up()
        documents = await uploads([ada], [11, 12])
        await all_ready(ada, len(documents))
        async with elsewhere(ada, there) as also:
            assert documents[11] in await _found(also, 11)

            deletion = await ada.deletes(documents[11])

            assert documents[11] not in await _found(also, 11)
            assert (await also.http.get(f"/api/docs/{documents[11]}/raw")).status_code == 404
            receipt = await also.receipt(deletion["deletion_id"])
            assert {store: found["remaining"] for store, found in receipt["stores"].items()} == dict.fromkeys(
                ("files", "ingest", "embedder", "qa"), 0
            )
            assert documents[12] in await _found(also, 12)


async def _hears_a_few(person: Person, heard: list[Event]) -> None:
    """Where the last stream ended, for some events, and away."""
    async with asyncio.timeout(60), person.watching(heard[-1].id if heard else None) as events:
        until = len(heard) + A_FEW
        async for event in events:
            heard.append(event)
            if len(heard) == until or _ready(heard) == DOCUMENTS:
                return


def _ready(heard: list[Event]) -> int:
    return len({event.data["id"] for event in heard if event.data["status"] == "ready"})


async def _found(person: Person, seed: int) -> set[str]:
    """The documents in which a house is found."""
    return {source["document_id"] for source in await person.searches(f"keeper of house {seed}")}

"""Chroma's adapter: bounded, and its trouble given a kind."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from uuid import uuid4

import numpy as np
import pytest
from chassis.failures import Failure, Misconfigured, Transient
from embedder.chroma import Chroma, CollectionMissing, Records
from embedder.grouping import GroupedUpserts

from tests.stubs.http import HttpStub, Reply, Request


@pytest.fixture
async def client(chroma: str) -> AsyncIterator[Chroma]:
    client = Chroma(chroma, timeout=10)
    yield client
    await client.close()


@pytest.fixture
async def name(client: Chroma) -> AsyncIterator[str]:
    name = f"test-{uuid4().hex}"
    await client.create(name, {"docqa": "test"})
    yield name
    await client.drop(name)


def records(*ids: str, dimension: int = 4) -> Records:
    return Records(
        ids=ids,
        vectors=[b64encode(np.ones(dimension, "<f4").tobytes()).decode() for _ in ids],
        metadata=[{"document": one.partition(":")[0]} for one in ids],
    )


async def test_writing_twice_overwrites_and_deleting_twice_is_harmless(client: Chroma, name: str) -> None:
    await client.upsert(name, records("a:1", "a:2", "b:1"))
    await client.upsert(name, records("a:1"))
    assert set(await client.ids(name, {"document": "a"})) == {"a:1", "a:2"}
    await client.delete(name, ["a:1", "never"])
    await client.delete(name, ["a:1"])
    assert await client.ids(name, {"document": "a"}) == ["a:2"]


async def test_a_missing_collection_is_said_to_be_missing(client: Chroma) -> None:
    with pytest.raises(CollectionMissing):
        await client.ids("never-made", {"document": "a"})
    await client.drop("never-made")


async def test_a_collection_that_was_made_again_is_found_under_its_new_id(
    client: Chroma, name: str, chroma: str
) -> None:
    await client.upsert(name, records("a:1"))
    other = Chroma(chroma, timeout=10)
    await other.drop(name)
    with pytest.raises(CollectionMissing):
        await client.upsert(name, records("a:1"))
    await other.create(name, {"docqa": "test"})
    await client.upsert(name, records("a:1"))
    await other.drop(name)
    await other.create(name, {"docqa": "test"})
    assert await client.ids(name, {"document": "a"}) == []
    await other.close()


async def test_vectors_of_a_wrong_dimension_are_a_matter_of_configuration(client: Chroma, name: str) -> None:
    await client.upsert(name, records("a:1"))
    with pytest.raises(Misconfigured):
        await client.upsert(name, records("a:2", dimension=7))


async def test_nobody_listening_is_trouble_that_may_pass() -> None:
    client = Chroma("http://127.0.0.1:1", timeout=1)
    with pytest.raises(Transient, match="cannot be reached"):
        await client.collections()
    assert await client.check() == "The index cannot be reached."
    await client.close()


@pytest.mark.parametrize(
    ("status", "kind"), [(500, Transient), (503, Transient), (429, Transient), (400, Misconfigured)]
)
async def test_a_status_has_its_kind(status: int, kind: type[Failure]) -> None:
    async def answer(request: Request, reply: Reply) -> None:
        await reply.json(status, {"error": "InternalError"})

    stub = HttpStub(answer)
    client = Chroma(stub.url, timeout=1)
    with pytest.raises(kind):
        await client.collections()
    await client.close()
    stub.close()


async def test_silence_ends_at_the_time_limit() -> None:
    async def answer(request: Request, reply: Reply) -> None:
        await asyncio.sleep(60)

    stub = HttpStub(answer)
    client = Chroma(stub.url, timeout=0.2)
    with pytest.raises(Transient, match=r"within 0\.2 s"):
        await client.collections()
    await client.close()
    stub.close()


class Writer:
    """Remembers its calls, and waits in each until it may go on."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.may_go_on = asyncio.Event()
        self.called = asyncio.Event()
        self.error: Exception | None = None

    async def upsert(self, collection: str, records: Records) -> None:
        self.calls.append((collection, list(records.ids)))
        self.called.set()
        await self.may_go_on.wait()
        if self.error:
            raise self.error


async def started(writer: Writer, *writes: tuple[str, str]) -> list["asyncio.Task[None]"]:
    """Writes under way, the first of them in its call."""
    grouped = GroupedUpserts(writer.upsert)
    tasks = [asyncio.create_task(grouped.write(collection, records(one))) for collection, one in writes]
    await writer.called.wait()
    return tasks


async def test_what_comes_while_one_call_runs_goes_together_in_the_next() -> None:
    writer = Writer()
    tasks = await started(writer, ("x", "1"), ("x", "2"), ("y", "3"), ("x", "4"))
    writer.may_go_on.set()
    await asyncio.gather(*tasks)
    assert sorted(one for _, ids in writer.calls for one in ids) == ["1", "2", "3", "4"]
    assert len(writer.calls) <= 3
    assert {collection for collection, ids in writer.calls if "3" in ids} == {"y"}


async def test_everybody_in_a_call_hears_of_its_trouble() -> None:
    writer = Writer()
    writer.error = Transient("index.unavailable", "away")
    tasks = await started(writer, ("x", "1"), ("x", "2"))
    writer.may_go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, Transient) for result in results)


async def test_whoever_is_cancelled_takes_nobody_along() -> None:
    writer = Writer()
    first, second, third = await started(writer, ("x", "1"), ("x", "2"), ("x", "3"))
    first.cancel()
    writer.may_go_on.set()
    await asyncio.gather(second, third)
    assert first.cancelled() or first.done()
    written = [one for _, ids in writer.calls[1:] for one in ids] or [one for _, ids in writer.calls for one in ids]
    assert {"2", "3"} <= set(written)


async def test_a_call_is_never_larger_than_chroma_takes() -> None:
    writer = Writer()
    grouped = GroupedUpserts(writer.upsert)
    tasks = [
        asyncio.create_task(grouped.write("x", records(*(f"{part}-{one}" for one in range(400))))) for part in range(6)
    ]
    await writer.called.wait()
    writer.may_go_on.set()
    await asyncio.gather(*tasks)
    assert max(len(ids) for _, ids in writer.calls) <= 1000
    assert sum(len(ids) for _, ids in writer.calls) == 2400

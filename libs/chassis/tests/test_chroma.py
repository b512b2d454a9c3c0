"""Chroma's adapter: bounded, and its trouble given a kind."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from uuid import uuid4

import numpy as np
import pytest
from chassis.chroma import Chroma, CollectionMissing, OutOfTime, Records
from chassis.failures import Failure, Misconfigured, Transient

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


async def test_what_is_nearest_comes_first_and_only_what_matches(client: Chroma, name: str) -> None:
    axes = np.eye(4, dtype="<f4")
    await client.upsert(
        name,
        Records(
            ids=["a:1", "a:2", "b:1"],
            vectors=[b64encode(axis.tobytes()).decode() for axis in (axes[0] + axes[1], axes[0], axes[0])],
            metadata=[{"document": "a"}, {"document": "a"}, {"document": "b"}],
        ),
    )
    found = await client.nearest(name, axes[0].tolist(), {"document": "a"}, 5)
    assert [one for one, _ in found] == ["a:2", "a:1"]
    assert [distance for _, distance in found] == pytest.approx([0, 1 - 0.5**0.5], abs=1e-6)
    assert await client.nearest(name, axes[0].tolist(), {"document": "c"}, 5) == []
    with pytest.raises(CollectionMissing):
        await client.nearest("never-made", axes[0].tolist(), {"document": "a"}, 5)


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


async def test_an_answer_that_is_none_is_trouble_that_may_pass() -> None:
    async def answer(request: Request, reply: Reply) -> None:
        await reply.json(200, {"proxy": "I am new here."})

    stub = HttpStub(answer)
    client = Chroma(stub.url, timeout=1)
    with pytest.raises(Transient, match="an answer that is none"):
        await client.collections()
    await client.close()
    stub.close()


async def test_silence_ends_at_the_time_limit() -> None:
    async def answer(request: Request, reply: Reply) -> None:
        await asyncio.sleep(60)

    stub = HttpStub(answer)
    client = Chroma(stub.url, timeout=0.2)
    with pytest.raises(OutOfTime, match=r"within 0\.2 s"):
        await client.collections()
    await client.close()
    stub.close()

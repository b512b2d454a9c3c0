"""Chroma hung, gone, half there or replaced: an answer in time or a clear word, never "nothing found"."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from chassis.ids import uuid7
from contracts.facts import IndexActivated
from contracts.index import collection_name, shard_of
from qa import vectors
from qa.active_index import ActiveIndex, ActiveIndexes
from qa.embedding import QuestionModels, open_with
from qa.passages import Scope
from qa.vectors import IndexUnavailable, ShardedVectors
from sqlalchemy import text

from .conftest import DIMENSION, SHARDS, serving, vector_of

CODED = "Part XK4711 needs 40 Nm."
PUMP = "The Kestrel pump runs at 4200 rpm."

LIMIT = 0.5


@pytest.fixture
async def black_hole() -> AsyncIterator[str]:
    """A server that accepts and never answers, as a stopped process does."""
    kept = list[asyncio.StreamWriter]()  # what nobody keeps is closed
    server = await asyncio.start_server(lambda reader, writer: kept.append(writer), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in kept:
        writer.close()


async def test_with_chroma_hung_full_text_answers_in_time(service: Any, person: Any, black_hole: str) -> None:
    user = uuid7()
    await service.add(user, CODED)
    async with serving(service.app(settings={"chroma_url": black_hole, "vectors_timeout": LIMIT})) as url:
        ada = person(user, at=url)
        began = time.perf_counter()
        assert (await ada.answer("What torque does XK4711 need?"))["answered"] is True
        unsure = await ada.ask("What is the capital of Mongolia?")
        assert time.perf_counter() - began < 2 * LIMIT + 2
        assert (unsure.status_code, unsure.json()["code"]) == (503, "service.unavailable")
        assert "Retry-After" in unsure.headers
        assert (await ada.events("What is the capital of Mongolia?"))[-1][1]["code"] == "service.unavailable"
        began = time.perf_counter()
        await ada.http.get("/api/chats")
        assert time.perf_counter() - began < LIMIT


async def test_with_chroma_gone_full_text_answers(service: Any, person: Any) -> None:
    user = uuid7()
    await service.add(user, CODED)
    async with serving(service.app(settings={"chroma_url": "http://127.0.0.1:9"})) as url:
        ada = person(user, at=url)
        assert (await ada.answer("What torque does XK4711 need?"))["answered"] is True
        ready = await ada.http.get("/health/ready")
        assert ready.status_code == 503
        assert "chroma" in ready.json()["missing"]
        assert (await ada.http.get("/health/live")).status_code == 200


async def test_a_hung_chroma_costs_no_place_for_ever(black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "SPARED_SECONDS", 0.0)
    hung = ShardedVectors(black_hole, timeout=0.2, at_once=2)
    index = ActiveIndex("i", 1, "local", DIMENSION, SHARDS)
    for _ in range(6):
        with pytest.raises(IndexUnavailable, match="within"):
            await hung.nearest(index, Scope(owner=uuid7()), vector_of("x"), 3)
    assert "did not answer" in str(await hung.check())
    await hung.close()


async def test_after_one_has_waited_in_vain_nobody_else_has_to(black_hole: str) -> None:
    hung = ShardedVectors(black_hole, timeout=0.2, at_once=1)
    index = ActiveIndex("i", 1, "local", DIMENSION, SHARDS)
    began = time.perf_counter()
    asked = [hung.nearest(index, Scope(owner=uuid7()), vector_of("x"), 3) for _ in range(50)]
    assert all(isinstance(each, IndexUnavailable) for each in await asyncio.gather(*asked, return_exceptions=True))
    assert time.perf_counter() - began < 1
    await hung.close()


async def test_a_missing_collection_is_never_nothing_found(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    assert (await ada.answer("How fast does the Kestrel pump run?"))["answered"] is True
    service.chroma.delete_collection(collection_name(service.index_id, shard_of(ada.id, SHARDS)))
    gone = await ada.ask("What is the capital of Mongolia?")
    assert (gone.status_code, gone.json()["code"]) == (503, "service.unavailable")


async def test_a_collection_made_anew_is_found_again(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    assert (await ada.answer("How fast does the Kestrel pump run?"))["answered"] is True
    name = collection_name(service.index_id, shard_of(ada.id, SHARDS))
    service.chroma.delete_collection(name)
    service.chroma.create_collection(name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    service.plant(ada.id, document, [PUMP])
    assert (await ada.answer("How fast does the Kestrel pump run?"))["answered"] is True


async def test_another_index_takes_over_while_questions_are_asked(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    assert (await ada.answer("How fast does the Kestrel pump run?"))["answered"] is True
    old, service.index_id = service.index_id, f"index-{uuid7().hex}"
    for shard in range(SHARDS):
        name = collection_name(service.index_id, shard)
        service.chroma.create_collection(name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
        service.chroma.delete_collection(collection_name(old, shard))
    service.plant(ada.id, document, [PUMP])
    await service.hear(
        IndexActivated(index_id=service.index_id, generation=2, model="local", dimension=DIMENSION, shards=SHARDS)
    )
    assert (await ada.answer("How fast does the Kestrel pump run?"))["answered"] is True


async def test_an_index_of_another_dimension_is_a_wrong_configuration(service: Any, ada: Any) -> None:
    await service.hear(IndexActivated(index_id="wide", generation=9, model="local", dimension=7, shards=SHARDS))
    response = await ada.ask("How fast does the Kestrel pump run?")
    assert (response.status_code, response.json()["code"]) == (503, "provider.misconfigured")


async def test_before_any_index_is_activated_questions_wait(service: Any, person: Any, database: Any) -> None:
    settings = {"database_url": await database("qa")}
    async with serving(service.app(settings=settings)) as url:
        ada = person(at=url)
        response = await ada.ask("Why?")
        assert (response.status_code, response.json()["code"]) == (503, "service.unavailable")
        missing = (await ada.http.get("/health/ready")).json()["missing"]
        assert missing["index"] == "no index has been activated yet"


async def test_a_known_index_is_read_again_in_the_background(service: Any) -> None:
    indexes = ActiveIndexes(service.statements)
    first = await indexes.current()
    assert first is not None
    await service.hear(IndexActivated(index_id="next", generation=2, model="local", dimension=DIMENSION, shards=SHARDS))
    assert await indexes.current() == first
    async with asyncio.timeout(10):
        while (now := await indexes.current()) == first:  # noqa: ASYNC110 - it is read in the background
            await asyncio.sleep(0.05)
    assert now is not None
    assert now.index_id == "next"


async def test_stale_vectors_do_not_crowd_out_what_is_there(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    crowd = [f"The Kestrel pump runs at {number} rpm." for number in range(30)]
    service.plant(ada.id, uuid7(), crowd)
    found = await ada.http.post("/api/search", json={"query": "The Kestrel pump runs at 1 rpm", "top_k": 2})
    assert [item["document_id"] for item in found.json()["items"]] == [str(document)]


async def test_a_second_look_that_fails_costs_nothing_of_the_first(
    service: Any, ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = await service.add(ada.id, PUMP)
    service.plant(ada.id, document, ["marmalade"])  # so that its vector alone finds it
    service.plant(ada.id, uuid7(), ["marmalade", "marmalade"])
    look, looks = ShardedVectors.nearest, list[int]()

    async def look_once(self: ShardedVectors, index: ActiveIndex, scope: Scope, vector: Any, limit: int) -> Any:
        looks.append(limit)
        if len(looks) > 1:
            raise IndexUnavailable("it went away between two looks")
        return await look(self, index, scope, vector, limit)

    monkeypatch.setattr(ShardedVectors, "nearest", look_once)
    found = await ada.http.post("/api/search", json={"query": "marmalade", "top_k": 2})
    assert [item["document_id"] for item in found.json()["items"]] == [str(document)]
    assert len(looks) == 2


async def test_what_the_graph_misses_among_many_alike_is_looked_for_further(
    service: Any, ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = await service.add(ada.id, PUMP, *["This page is blank."] * 100)
    service.plant(ada.id, document, ["marmalade"])  # so that its vector alone finds it
    look, looks = ShardedVectors.nearest, list[int]()

    async def miss_one(self: ShardedVectors, index: ActiveIndex, scope: Scope, vector: Any, limit: int) -> Any:
        looks.append(limit)
        found = await look(self, index, scope, vector, limit + 1)
        return found if limit > 100 else [hit for hit in found if hit.id.ordinal != 0]

    monkeypatch.setattr(ShardedVectors, "nearest", miss_one)
    found = await ada.http.post("/api/search", json={"query": "marmalade", "top_k": 2})
    assert [item["text"] for item in found.json()["items"]] == [PUMP]
    assert len(looks) == 2
    looks.clear()
    nobody = await ada.http.post("/api/search", json={"query": "zeppelin", "top_k": 2})
    assert (nobody.json()["items"], len(looks)) == ([], 2)


async def test_connections_that_were_cut_cost_nobody_an_answer(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    for _ in range(3):
        await ada.answer("How fast does the Kestrel pump run?")
        async with service.sessions.begin() as session:
            await session.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        again = await ada.answer("How fast does the Kestrel pump run?")
        assert again["answered"] is True


def test_an_indexs_own_model_is_opened_with_our_keys(service: Any) -> None:
    open_model = open_with(service.settings)
    other = open_model("openai:text-embedding-3-small", 512)
    assert (other.name, other.dimension) == ("openai:text-embedding-3-small", 512)


async def test_the_settings_own_model_is_opened_with_the_dimension_of_an_index_that_has_another(service: Any) -> None:
    name = "openai:text-embedding-3-small"
    models = QuestionModels(open_with(service.settings.model_copy(update={"embedding_model": name})))
    usual = await models.open(name)
    own, narrow = (ActiveIndex("i", 1, name, dimension, SHARDS) for dimension in (1536, 512))
    assert await models.for_index(own) is usual
    assert (await models.for_index(narrow)).dimension == 512
    await models.close()

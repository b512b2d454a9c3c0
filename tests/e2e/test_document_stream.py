"""The stream of documents: from any point on, nothing is missed and nothing is foreign."""

import asyncio

import pytest
from docqa.stack import Stack

from tests.e2e.person import Event, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

TEXT = "text/plain"


async def first(person: Person, count: int, last_event_id: str | None = None) -> list[Event]:
    """The first events of a stream; the rest is not waited for."""
    seen: list[Event] = []
    async with asyncio.timeout(30), person.watching(last_event_id) as events:
        async for event in events:
            seen.append(event)
            if len(seen) == count:
                return seen
    raise AssertionError(f"the stream ended after {seen}")


async def test_a_stream_goes_on_where_it_was_left_or_begins_anew(stack: Stack) -> None:
    async with Person(stack.url) as ada, Person(stack.url) as eve:
        await ada.signs_up()
        await eve.signs_up()
        await eve.is_ready_with(("hers.txt", b"Hers alone.", TEXT))
        one, two = await ada.is_ready_with(("one.txt", b"The first one.", TEXT), ("two.txt", b"The second.", TEXT))

        everything = await first(ada, 2)
        assert {event.data["id"] for event in everything} == {one["id"], two["id"]}
        assert [event.data for event in everything] == [
            await ada.gets(f"/api/docs/{event.data['id']}") for event in everything
        ], "the stream and the document say the same"
        (foreign,) = await first(eve, 1)
        assert foreign.data["filename"] == "hers.txt"

        tag, _, counter = (everything[-1].id or "").rpartition("-")
        begin_anew = [
            "0", "garbage", foreign.id, "-1", f"{tag}-0", f"{tag}-{int(counter) + 1000}", f"{tag}-{'9' * 40}",
            "x" * 2000,
        ]  # fmt: skip
        for last_event_id in begin_anew:
            again = await first(ada, 2, last_event_id)
            assert {event.data["id"] for event in again} == {one["id"], two["id"]}, last_event_id
            assert all(event.data["filename"] != "hers.txt" for event in again)
        (rest,) = await first(ada, 1, everything[0].id)
        assert rest == everything[1], "what follows the id, and no more"


async def test_a_stream_that_was_away_hears_of_what_is_new_and_of_what_is_gone(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        (kept,) = await ada.is_ready_with(("kept.txt", b"It is kept.", TEXT))
        (left,) = await first(ada, 1)
        (lost,) = await ada.is_ready_with(("lost.txt", b"It will be lost.", TEXT))
        await ada.deletes(lost["id"])
        statuses: list[str] = []
        async with asyncio.timeout(60), ada.watching(left.id) as events:
            async for event in events:
                assert event.data["id"] == lost["id"], "of the other one nothing is new"
                if event.name == "gone":
                    assert event.data == {"id": lost["id"]}
                    break
                statuses.append(event.data["status"])
        assert set(statuses) <= {"deleting"}
        (anew,) = await first(ada, 1)
        assert (anew.name, anew.data["id"]) == ("document", kept["id"]), "what is gone is not told to the new"


async def test_a_stream_breathes_and_is_not_kept_by_caches(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        async with ada.http.stream("GET", "/api/docs/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            async with asyncio.timeout(10):
                assert await anext(answer.aiter_bytes()) == b": \n\n", "a sign of life comes at once"
        assert (await ada.http.get("/api/docs/events", headers={"Authorization": "Bearer x"})).status_code == 401


async def test_a_stream_ends_when_the_account_does(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        async with asyncio.timeout(30), ada.watching() as events:
            closed = asyncio.create_task(ada.closes_her_account())
            (end,) = [event async for event in events]
            await closed
        assert (end.name, end.data["status"], end.data["code"]) == ("error", 401, "auth.token_invalid")

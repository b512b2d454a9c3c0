"""What several batches have for one collection goes to Chroma in one call."""

import asyncio

import pytest
from chassis.chroma import Records
from chassis.failures import Transient
from embedder.grouping import GroupedUpserts


def records(*ids: str) -> Records:
    return Records(ids=ids, vectors=["AACAPw=="] * len(ids), metadata=[{"document": "a"}] * len(ids))


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

    async def next_call(self) -> None:
        """Let the call that runs end, and wait for the one after it."""
        running, self.may_go_on = self.may_go_on, asyncio.Event()
        self.called.clear()
        running.set()
        await self.called.wait()


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


async def cancelled(task: "asyncio.Task[None]") -> None:
    """It has been told, and has had its chances to end."""
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)


async def test_whoever_is_cancelled_takes_nobody_along() -> None:
    writer = Writer()
    first, second, third = await started(writer, ("x", "1"), ("x", "2"), ("x", "3"))
    first.cancel()
    writer.may_go_on.set()
    await asyncio.gather(second, third)
    assert first.cancelled()
    assert {"2", "3"} <= {one for _, ids in writer.calls for one in ids}


@pytest.mark.parametrize("who", [0, 1, 2], ids=["who began the call", "who goes with it", "who waits for it"])
async def test_whoever_is_cancelled_ends_when_nothing_of_theirs_is_on_its_way_any_more(who: int) -> None:
    writer = Writer()
    grouped = GroupedUpserts(writer.upsert)
    before = asyncio.create_task(grouped.write("y", records("0")))
    await writer.called.wait()
    tasks = [asyncio.create_task(grouped.write("x", records(one))) for one in ("1", "2")]
    await asyncio.sleep(0)
    await writer.next_call()
    assert writer.calls[-1] == ("x", ["1", "2"])
    tasks.append(asyncio.create_task(grouped.write("x", records("3"))))

    await cancelled(tasks[who])
    await cancelled(tasks[who])
    assert tasks[who].done() == (who == 2)

    writer.may_go_on.set()
    await before
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [each == who for each in range(3)]


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

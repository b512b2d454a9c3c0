"""Taking jobs: whose turn it is, and that nobody takes what is taken."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from chassis.transactions import Driver, Transactions, driver_of
from messaging import fences, jobs, taking
from messaging.jobs import Job, NewJob
from messaging.taking import Taken

LEASE = timedelta(seconds=30)


async def note(transactions: Transactions, owner: str, count: int, *, start: int = 0, light: bool = False) -> None:
    async with transactions.begin() as session:
        await jobs.add_many(
            session,
            [
                NewJob(kind="some", subject=f"{owner}{part}", version=1, owner=owner, light=light)
                for part in range(start, start + count)
            ],
        )


async def take(transactions: Transactions, most: int = 1, *, light: bool = False) -> list[Taken]:
    async with transactions.driver() as driver:
        taken, _ = await taking.take(driver, kind="some", lease=LEASE, most=most, light=light)
    return taken


async def due(driver: Driver) -> Sequence[str]:
    _, kinds = await taking.pulse(driver, ["some"])
    return kinds


async def take_owners(transactions: Transactions, times: int) -> list[str]:
    return [each.job.owner for _ in range(times) for each in await take(transactions)]


async def end(transactions: Transactions, owner: str) -> None:
    """What the owner holds is done."""
    async with transactions.driver() as driver:
        await driver.execute("UPDATE jobs SET state = 'done' WHERE owner = $1 AND state = 'running'", owner)


async def test_owners_take_turns_however_much_each_has(transactions: Transactions) -> None:
    await note(transactions, "a", 500)
    assert await take_owners(transactions, 3) == ["a"] * 3
    await note(transactions, "b", 1)
    await note(transactions, "c", 2)
    assert await take_owners(transactions, 6) == ["b", "c", "c", "a", "a", "a"], "a has three already"


async def test_an_owner_who_was_just_served_waits_for_the_others(transactions: Transactions) -> None:
    await note(transactions, "a", 10)
    await note(transactions, "b", 1)
    assert await take_owners(transactions, 2) == ["a", "b"]
    await note(transactions, "b", 1, start=1)
    assert await take_owners(transactions, 3) == ["a", "b", "a"]


async def test_an_owner_who_holds_less_comes_first_though_it_was_served_last(transactions: Transactions) -> None:
    await note(transactions, "a", 3)
    await note(transactions, "b", 3)
    assert await take_owners(transactions, 2) == ["a", "b"]
    for _ in range(2):
        await end(transactions, "b")
        assert await take_owners(transactions, 1) == ["b"], "what a holds takes long"
    await end(transactions, "a")
    assert await take_owners(transactions, 1) == ["a"]


async def test_the_oldest_job_of_an_owner_comes_first(transactions: Transactions) -> None:
    for part in range(3):
        await note(transactions, "a", 1, start=part)
    assert [(await take(transactions))[0].job.subject for _ in range(3)] == ["a0", "a1", "a2"]


async def test_several_places_are_shared_among_the_owners(transactions: Transactions) -> None:
    await note(transactions, "a", 10)
    assert len(await take(transactions, 4)) == 4
    await note(transactions, "b", 10)
    assert sorted(each.job.owner for each in await take(transactions, 4)) == ["a", "a", "b", "b"]


async def test_light_jobs_can_be_taken_alone_and_their_owners_take_turns(transactions: Transactions) -> None:
    await note(transactions, "a", 3)
    await note(transactions, "b", 3, light=True)
    await note(transactions, "c", 1, light=True)
    taken = [each.job.owner for _ in range(5) for each in await take(transactions, light=True)]
    assert taken == ["b", "c", "b", "b"]
    assert await take_owners(transactions, 4) == ["a"] * 3


async def test_a_light_job_may_be_taken_like_any_other(transactions: Transactions) -> None:
    await note(transactions, "a", 1, light=True)
    assert await take_owners(transactions, 2) == ["a"]


async def test_what_is_not_yet_due_is_left(transactions: Transactions) -> None:
    async with transactions.begin() as session:
        await jobs.add(session, kind="some", subject="later", version=1, owner="a", delay=LEASE)
    async with transactions.driver() as driver:
        assert await taking.take(driver, kind="some", lease=LEASE, most=1) == ([], 0)


async def test_twenty_that_take_at_once_never_take_the_same(transactions: Transactions) -> None:
    await note(transactions, "a", 30)
    await note(transactions, "b", 30)
    taken = [each for batch in await asyncio.gather(*(take(transactions, 3) for _ in range(20))) for each in batch]
    subjects = [each.job.subject for each in taken]
    assert len(subjects) == len(set(subjects))
    assert all(each.job.attempt == 1 for each in taken)


async def test_a_live_lease_is_never_taken_and_never_counted(transactions: Transactions) -> None:
    await note(transactions, "a", 1)
    await take(transactions)
    async with transactions.driver() as driver:
        assert await due(driver) == []
    assert await take(transactions) == []


async def test_a_lease_that_ran_out_counts_as_a_crash_and_the_job_is_due_again(transactions: Transactions) -> None:
    await note(transactions, "a", 1)
    for attempt in (1, 2):
        taken = await take(transactions)
        assert [(each.job.attempt, each.job.crashes) for each in taken] == [(attempt, attempt - 1)]
        async with transactions.driver() as driver:
            await driver.execute("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second'")
            assert await due(driver) == ["some"]


async def test_a_held_fence_is_passed_over_and_told_of(transactions: Transactions) -> None:
    await note(transactions, "a", 1)
    async with transactions.begin() as holder:
        await fences.lock(holder, "a0")
        async with transactions.begin() as session:
            assert await taking.take(await driver_of(session), kind="some", lease=LEASE, most=1, with_fence=True) == (
                [],
                1,
            )
        async with transactions.driver() as driver:
            taken, _ = await taking.take(driver, kind="some", lease=LEASE, most=1)
    assert len(taken) == 1


async def test_renewing_finds_only_what_is_still_held(transactions: Transactions) -> None:
    await note(transactions, "a", 2)
    mine: list[Job] = [each.job for each in await take(transactions, 2)]
    async with transactions.driver() as driver:
        await driver.execute("UPDATE jobs SET attempt = 2 WHERE subject = 'a1'")
        held = await taking.renew(driver, kind="some", lease=LEASE, jobs=mine)
    assert set(held) == {("a0", 1, 0, 1)}


@pytest.mark.parametrize("statement", [taking._TAKE_JOB, taking._TAKE_LIGHT])
async def test_taking_stays_quick_behind_a_long_queue(transactions: Transactions, statement: str) -> None:
    """Counted in pages read, not in time: a taking must not walk the queue."""
    for owner in range(10):
        await note(transactions, f"owner{owner:02}-", 300)
        await note(transactions, f"owner{owner:02}-", 3, start=300, light=True)
    async with transactions.driver() as driver:
        await driver.execute("ANALYZE jobs")
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        plan = await driver.fetchval(explain, "some", 1, LEASE)
    top = plan[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 200

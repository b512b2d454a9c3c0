"""Jobs of one subject that are done together end in one transaction, or each as it would have by itself."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from chassis.failures import Transient
from chassis.transactions import Transactions, driver_of
from messaging import fences, jobs, taking
from messaging.ending_together import EndingTogether
from messaging.fences import Fence
from messaging.finishing import Act, Ended, Ending
from messaging.jobs import Job, NewJob
from messaging.outbox import Outbox
from messaging.tables import JobRow
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.messaging.tests.samples import uploaded


async def taken(transactions: Transactions, *parts: int, subject: str = "s") -> list[Job]:
    async with transactions.begin() as session:
        new = [NewJob(kind="some", subject=subject, version=1, owner=subject, part=part) for part in parts]
        await jobs.add_many(session, new)
    async with transactions.driver() as driver:
        found, _ = await taking.take(driver, kind="some", lease=timedelta(minutes=1), most=len(parts))
    return sorted((each.job for each in found), key=lambda job: job.part)


async def states(transactions: Transactions) -> list[str]:
    async with transactions.begin() as session:
        return list(await session.scalars(select(JobRow.state).order_by(JobRow.part)))


class Acts:
    """What final transactions do here: they remember which transaction each part was in."""

    def __init__(self) -> None:
        self.of_part: dict[int, int] = {}

    def __call__(self, part: int, *, fails: bool = False) -> Act:
        async def act(session: AsyncSession, fence: Fence) -> None:
            driver = await driver_of(session)
            self.of_part[part] = await driver.fetchval("SELECT pg_current_xact_id()::text::bigint")
            if fails:
                raise Transient("some.trouble", "of this one alone")

        return act


async def end(transactions: Transactions, done: Sequence[tuple[Job, Act]]) -> list[Ended | BaseException]:
    together = EndingTogether(transactions, heeds_fence=True)
    return await asyncio.gather(*(together.done(job, act) for job, act in done), return_exceptions=True)


def endings(found: Sequence[Ended | BaseException]) -> list[Ending | type[BaseException]]:
    return [each.ending if isinstance(each, Ended) else type(each) for each in found]


async def test_what_is_done_together_is_ended_by_one_transaction(transactions: Transactions) -> None:
    acts = Acts()
    found = await end(transactions, [(job, acts(job.part)) for job in await taken(transactions, 0, 1, 2)])
    assert endings(found) == [Ending.WON] * 3
    assert len(set(acts.of_part.values())) == 1
    assert await states(transactions) == ["done"] * 3


async def test_what_is_done_meanwhile_is_ended_by_the_next_one(transactions: Transactions) -> None:
    acts, together = Acts(), EndingTogether(transactions, heeds_fence=True)
    first, *others = await taken(transactions, 0, 1, 2)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(session: AsyncSession, fence: Fence) -> None:
        await acts(0)(session, fence)
        begun.set()
        await go_on.wait()

    ending = [asyncio.create_task(together.done(first, slowly))]
    await begun.wait()
    ending += [asyncio.create_task(together.done(job, acts(job.part))) for job in others]
    await asyncio.sleep(0.01)
    go_on.set()
    assert endings(await asyncio.gather(*ending)) == [Ending.WON] * 3
    assert acts.of_part[1] == acts.of_part[2] != acts.of_part[0]


async def test_subjects_do_not_wait_for_each_other(transactions: Transactions) -> None:
    acts = Acts()
    one, other = await taken(transactions, 1, subject="one"), await taken(transactions, 2, subject="other")
    await end(transactions, [(job, acts(job.part)) for job in (*one, *other)])
    assert acts.of_part[1] != acts.of_part[2]


async def test_one_that_fails_keeps_no_other_from_its_end(transactions: Transactions) -> None:
    acts = Acts()
    done = [(job, acts(job.part, fails=job.part == 1)) for job in await taken(transactions, 0, 1, 2)]
    assert endings(await end(transactions, done)) == [Ending.WON, Transient, Ending.WON]
    assert await states(transactions) == ["done", "running", "done"]


async def test_one_that_somebody_else_has_now_keeps_no_other_from_its_end(transactions: Transactions) -> None:
    acts, mine = Acts(), await taken(transactions, 0, 1, 2)
    async with transactions.driver() as driver:
        await driver.execute("UPDATE jobs SET attempt = attempt + 1 WHERE part = 0")
    found = await end(transactions, [(job, acts(job.part)) for job in mine])
    assert endings(found) == [Ending.LOST, Ending.WON, Ending.WON]
    assert set(acts.of_part) == {1, 2}


async def test_what_came_of_a_group_is_said_once(transactions: Transactions) -> None:
    outbox, acts = Outbox("some"), Acts()

    def says(part: int) -> Act:
        async def act(session: AsyncSession, fence: Fence) -> None:
            await acts(part)(session, fence)
            outbox.add(session, uploaded())
            if part == 1:
                raise Transient("some.trouble", "after the others have spoken")

        return act

    await end(transactions, [(job, says(job.part)) for job in await taken(transactions, 0, 1)])
    async with transactions.driver() as driver:
        assert await driver.fetchval("SELECT count(*) FROM outbox") == 1


@pytest.mark.parametrize("late", [True, False])
async def test_a_subject_that_is_over_ends_each_by_itself(transactions: Transactions, late: bool) -> None:
    acts, mine = Acts(), await taken(transactions, 0, 1)
    async with transactions.begin() as session:
        fence = await fences.lock(session, "s", heard=1)
        fence.raise_live(2) if late else fence.hear(2)
    found = await end(transactions, [(job, acts(job.part)) for job in mine])
    assert endings(found) == [Ending.LATE if late else Ending.OVER] * 2
    assert not acts.of_part

"""Chores are done when they are due, by one replica, and again after one that failed."""

import asyncio
from datetime import timedelta
from typing import Any

from chassis.database import Sessions
from messaging import jobs
from messaging.chores import Chore, ChoreRunner
from messaging.housekeeping import Ages, housekeeping, prune
from messaging.outbox import Outbox
from messaging.tables import ChoreRow, DeadLetter, JobRow, OutboxRow
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.messaging.tests.samples import ready, until, uploaded

HOUR = timedelta(hours=1)


class Counted:
    """A chore that counts itself."""

    def __init__(self, *, fails: bool = False) -> None:
        self.runs = 0
        self.fails = fails

    async def __call__(self, session: AsyncSession) -> None:
        self.runs += 1
        await session.execute(text("SELECT 1"))
        if self.fails:
            raise KeyError("broken")


def a_runner(sessions: Sessions, run: Counted, *, every: timedelta = HOUR) -> ChoreRunner:
    return ChoreRunner(Chore(name="some", every=every, run=run), sessions)


async def due_in(sessions: Sessions) -> timedelta:
    async with sessions() as session:
        due: timedelta | None = await session.scalar(select(ChoreRow.due_at - func.clock_timestamp()))
    assert due is not None
    return due


async def test_of_many_replicas_one_does_it(sessions: Sessions) -> None:
    run = Counted()
    runners = [a_runner(sessions, run) for _ in range(5)]
    for runner in runners:
        await runner._register()
    done = await asyncio.gather(*(runner.run_if_due() for runner in runners))
    assert sorted(done) == [False, False, False, False, True]
    assert run.runs == 1
    assert timedelta(minutes=59) < await due_in(sessions) <= HOUR


async def test_what_failed_is_tried_again_soon(sessions: Sessions) -> None:
    run = Counted(fails=True)
    runner = a_runner(sessions, run)
    await runner._register()
    assert await runner.run_if_due()
    assert await due_in(sessions) <= timedelta(minutes=1)


async def test_a_replica_that_died_over_it_is_followed_by_another(sessions: Sessions) -> None:
    run = Counted()
    runner = a_runner(sessions, run)
    await runner._register()
    async with sessions.begin() as session:
        await session.execute(update(ChoreRow).values(claimed_until=func.now() + HOUR))
    assert not await runner.run_if_due()
    async with sessions.begin() as session:
        await session.execute(update(ChoreRow).values(claimed_until=func.now() - timedelta(seconds=1)))
    assert await runner.run_if_due()


async def test_one_that_is_cut_off_is_due_again_at_once(sessions: Sessions) -> None:
    begun = asyncio.Event()

    async def run(session: AsyncSession) -> None:
        begun.set()
        await asyncio.Event().wait()

    runner = ChoreRunner(Chore(name="some", every=HOUR, run=run), sessions)
    await runner._register()
    running = asyncio.create_task(runner.run_if_due())
    await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await due_in(sessions) <= timedelta(0)


async def test_a_hurry_during_a_run_is_another_run(sessions: Sessions) -> None:
    async def run(session: AsyncSession) -> None:
        await runner.hurry()

    runner = ChoreRunner(Chore(name="some", every=HOUR, run=run), sessions)
    await runner._register()
    assert await runner.run_if_due()
    assert await due_in(sessions) <= timedelta(0)


async def test_it_runs_by_itself_and_in_a_hurry(sessions: Sessions) -> None:
    run = Counted()
    runner = a_runner(sessions, run)
    running = asyncio.create_task(runner.run())
    await until(lambda: run.runs == 1)

    async def released() -> bool:
        return await due_in(sessions) > timedelta(minutes=1)

    await until(released)
    await runner.hurry()
    await until(lambda: run.runs == 2)
    running.cancel()


async def count(sessions: Sessions, table: Any) -> int:
    async with sessions() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def age(sessions: Sessions, statement: str) -> None:
    async with sessions.begin() as session:
        await session.execute(text(statement))


async def test_what_is_past_its_age_is_forgotten(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        for fact in (uploaded(), uploaded(), uploaded(), ready()):
            Outbox("some").add(session, fact)
        for version in (1, 2, 3):
            await jobs.add(session, kind="some", subject="s", version=version, owner="a")
        for offset in (1, 2):
            letter = {"origin": "consumer", "topic": "t", "partition": 0, "log_offset": offset, "digest": "d"}
            session.add(DeadLetter(**letter, size_bytes=0, reason="r", detail=""))
    await age(sessions, "UPDATE outbox SET sent_at = now() - interval '2 hours' WHERE id <> 2")
    await age(sessions, "UPDATE outbox SET sent_at = now() WHERE id = 2 ")
    await age(sessions, "UPDATE outbox SET sent_at = NULL WHERE id = 3")
    await age(sessions, "UPDATE jobs SET state = 'done', finished_at = now() - interval '9 days' WHERE version = 1")
    await age(sessions, "UPDATE jobs SET state = 'done', finished_at = now() - interval '7 days' WHERE version = 2")
    await age(sessions, "UPDATE dead_letters SET added_at = now() - interval '31 days' WHERE log_offset = 1")
    async with sessions() as session:
        await housekeeping().run(session)
    assert await count(sessions, OutboxRow) == 3, "one was sent, long ago, and is not kept"
    assert await count(sessions, JobRow) == 2
    assert await count(sessions, DeadLetter) == 1


async def test_kept_facts_stay_as_long_as_the_topic_would_keep_them(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        Outbox("some").add(session, ready())
    for days, left in ((6, 1), (8, 0)):
        await age(sessions, f"UPDATE outbox SET sent_at = now() - interval '{days} days'")
        async with sessions() as session:
            await prune(session, Ages())
        assert await count(sessions, OutboxRow) == left

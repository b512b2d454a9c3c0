"""Noting work."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from chassis.database import Sessions
from chassis.transactions import Transactions
from messaging import fences, jobs, taking
from messaging.jobs import NewJob
from messaging.listening import Listener
from messaging.tables import JobRow
from messaging.waking import woken_by
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.messaging.tests.samples import until

LEASE = timedelta(seconds=30)


async def count(sessions: Sessions, state: str) -> int:
    async with sessions() as session:
        return await session.scalar(select(func.count()).select_from(JobRow).where(JobRow.state == state)) or 0


async def test_a_job_is_noted_once(sessions: Sessions) -> None:
    subject = uuid4()
    async with sessions.begin() as session:
        assert await jobs.add(session, kind="some", subject=subject, version=1, owner="a")
    async with sessions.begin() as session:
        assert not await jobs.add(session, kind="some", subject=subject, version=1, owner="a")
        assert await jobs.add(session, kind="some", subject=subject, version=1, owner="a", part=1)
        assert await jobs.add(session, kind="some", subject=subject, version=2, owner="a")
        assert await jobs.add(session, kind="other", subject=subject, version=1, owner="a")
    assert await count(sessions, "waiting") == 4


async def test_many_parts_are_noted_together_and_only_the_new_ones_count(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        parts = [NewJob(kind="some", subject="s", version=1, part=part, owner="a") for part in range(2500)]
        assert await jobs.add_many(session, parts[:10]) == 10
        assert await jobs.add_many(session, parts) == 2490
        assert await jobs.add_many(session, []) == 0
        assert await jobs.pending(session, "s") == 2500
        assert await jobs.pending(session, "s", version=2) == 0
        assert await jobs.pending(session, "s", kinds=["some"]) == 2500


async def test_every_job_has_a_fence(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await jobs.add(session, kind="some", subject="never heard of", version=1, owner="a")
    async with sessions() as session:
        assert await fences.read(session, "never heard of") is not None


async def test_a_transaction_knows_what_it_made_work_for(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await jobs.add(session, kind="now", subject="s", version=1, owner="a")
        await jobs.add(session, kind="later", subject="s", version=1, owner="a", delay=LEASE)
    assert woken_by(session) == {"now"}


async def test_a_lease_is_live_until_it_ends_by_the_databases_clock(transactions: Transactions) -> None:
    async with transactions.begin() as session:
        await jobs.add(session, kind="some", subject="s", version=1, owner="a")
        assert not await jobs.has_live_lease(session, "s")
    async with transactions.driver() as driver:
        await taking.take(driver, kind="some", lease=LEASE, most=1)
    async with transactions.begin() as session:
        assert await jobs.has_live_lease(session, "s")
        assert await jobs.has_live_lease(session, "s", kinds=["some"])
        assert not await jobs.has_live_lease(session, "s", kinds=["other"])
        row = (await session.scalars(select(JobRow))).one()
        row.lease_until = await session.scalar(select(func.clock_timestamp()))
    async with transactions.begin() as session:
        assert not await jobs.has_live_lease(session, "s")


async def test_cancelling_ends_what_nobody_does_and_leaves_the_rest(transactions: Transactions) -> None:
    async with transactions.begin() as session:
        await jobs.add(session, kind="some", subject="s", version=1, owner="a")
    async with transactions.driver() as driver:
        await taking.take(driver, kind="some", lease=LEASE, most=1)
    async with transactions.begin() as session:
        for version in (2, 3):
            await jobs.add(session, kind="some", subject="s", version=version, owner="a")
        assert await jobs.cancel(session, "s", below_version=3) == 1
        assert await jobs.pending(session, "s") == 2
        assert await jobs.cancel(session, "s", version=3, kinds=["other"]) == 0
        assert await jobs.cancel(session, "s") == 1
        assert await jobs.has_live_lease(session, "s")


async def test_what_was_done_with_another_job_ends_if_nobody_has_begun_it(transactions: Transactions) -> None:
    async with transactions.begin() as session:
        for subject in ("begun", "waiting", "else"):
            await jobs.add(session, kind="some", subject=subject, version=1, owner=subject[0])
        await jobs.add(session, kind="other", subject="waiting", version=1, owner="w")
    async with transactions.driver() as driver:
        await taking.take(driver, kind="some", lease=LEASE, most=1)
    async with transactions.begin() as session:
        await jobs.end_waiting(session, ["begun", "waiting"], kind="some", version=1)
    async with transactions.begin() as session:
        rows = await session.execute(select(JobRow.kind, JobRow.subject, JobRow.state))
        assert {tuple(row) for row in rows} == {
            ("some", "begun", "running"), ("some", "waiting", "done"), ("some", "else", "waiting"),
            ("other", "waiting", "waiting"),
        }  # fmt: skip


async def test_a_commit_notifies_once_for_each_kind(sessions: Sessions, engine: AsyncEngine) -> None:
    heard: list[str | None] = []
    listener = Listener(engine)
    listener.on("jobs", heard.append)
    running = asyncio.create_task(listener.run())
    await listener.ready()
    heard.clear()
    async with sessions.begin() as session:
        for part in range(3):
            await jobs.add(session, kind="some", subject="s", version=1, owner="a", part=part)
        await jobs.add(session, kind="other", subject="s", version=1, owner="a")
    await until(lambda: len(heard) == 2)
    assert sorted(heard, key=str) == ["other", "some"]
    running.cancel()

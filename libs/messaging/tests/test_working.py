"""Doing work: tries, crashes, leases, deletions, and who wins."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from chassis import metrics
from chassis.failures import CrashLoop, Misconfigured, Permanent, Transient
from chassis.transactions import Driver, Transactions, driver_of
from messaging import fences, finishing, jobs, taking
from messaging.fences import Fence
from messaging.finishing import Ended, Ending
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.pausing import Pause
from messaging.tables import JobRow, OutboxRow
from messaging.workers import Finish
from messaging.working import Begun, Worker, workers_of
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.messaging.tests.samples import SomeWork, until, uploaded

RUN_OUT = "UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second' WHERE state = 'running'"


@asynccontextmanager
async def working(transactions: Transactions, work: SomeWork) -> AsyncIterator[Worker]:
    worker = Worker(work, transactions)
    running = asyncio.create_task(worker.run())
    worker.wake()
    try:
        yield worker
    finally:
        worker.stop()
        await running


async def note(
    transactions: Transactions, subject: str = "s", *, version: int = 1, part: int = 0, kind: str = "some"
) -> None:
    async with transactions.begin() as session:
        await jobs.add(session, kind=kind, subject=subject, version=version, owner="a", part=part)


async def the_job(transactions: Transactions, subject: str = "s") -> JobRow:
    async with transactions.begin() as session:
        return (await session.scalars(select(JobRow).where(JobRow.subject == subject))).one()


async def change(transactions: Transactions, to: Callable[[Fence], object], subject: str = "s") -> None:
    async with transactions.begin() as session:
        to(await fences.lock(session, subject))


async def run_out(transactions: Transactions) -> None:
    """The lease ends, and the next pulse finds out."""
    async with transactions.driver() as driver:
        await driver.execute(RUN_OUT)
        await taking.pulse(driver, [])


async def is_in(transactions: Transactions, state: str, subject: str = "s") -> bool:
    return (await the_job(transactions, subject)).state == state


async def was_tried(transactions: Transactions) -> bool:
    return (await the_job(transactions)).tries > 0


# what goes well


async def test_a_job_is_done_once(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork()
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "done"))
    assert len(work.runs) == len(work.finished) == 1
    assert (work.runs[0].attempt, work.runs[0].tries, work.runs[0].crashes) == (1, 0, 0)
    assert work.lost_jobs == work.erased == []


async def test_no_more_at_a_time_than_the_work_allows(transactions: Transactions) -> None:
    for part in range(5):
        await note(transactions, part=part)
    work = SomeWork(concurrency=2, held=True)
    async with working(transactions, work):
        await until(lambda: len(work.runs) == 2)
        work.gate.set()
        await until(lambda: len(work.finished) == 5)


async def test_what_others_note_while_a_transaction_keeps_all_places_is_done_after_it(
    transactions: Transactions,
) -> None:
    work = SomeWork(concurrency=2)
    async with working(transactions, work) as worker:
        await note(transactions, "first")
        worker.wake()
        await until(lambda: len(work.finished) == 1)  # its look at the start is over
        async with transactions.begin() as session:
            await jobs.add(session, kind="some", subject="s", version=1, owner="a")
            begun = await worker.take_within(session)
            await note(transactions, "t")
            worker.wake()
            await asyncio.sleep(0.05)
            assert len(work.runs) == 1, "it has no place yet"
        begun.go()
        await until(lambda: len(work.finished) == 3)


async def test_places_that_were_kept_while_jobs_were_taken_for_them_are_not_asked_for_again(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    begun: list[Begun] = []
    take = taking.take

    async def take_while_a_handler_keeps_places(driver: Driver, *, most: int, **told: Any) -> Any:
        asked.append(most)
        taken = await take(driver, most=most, **told)
        if not begun:
            async with transactions.begin() as session:
                begun.append(Begun(worker))  # its own taking keeps no more
                begun[0] = await worker.take_within(session)
        return taken

    monkeypatch.setattr(taking, "take", take_while_a_handler_keeps_places)
    work = SomeWork(concurrency=1)
    for subject in ("s", "t"):
        await note(transactions, subject)
    async with working(transactions, work) as worker:
        await until(lambda: len(work.finished) == 1)
        begun[0].go()
        await until(lambda: len(work.finished) == 2)
    assert min(asked) > 0


async def test_places_kept_for_a_transaction_that_fails_are_given_back(transactions: Transactions) -> None:
    work = SomeWork()

    async def fail(worker: Worker) -> None:
        async with transactions.begin() as session:
            begun.append(await worker.take_within(session))
            worker.wake()
            await asyncio.sleep(0.05)
            raise ZeroDivisionError

    begun: list[Begun] = []
    async with working(transactions, work) as worker:
        await note(transactions)
        with pytest.raises(ZeroDivisionError):
            await fail(worker)
        begun[0].forget()
        await until(lambda: is_in(transactions, "done"))
    assert [job.attempt for job in work.finished] == [1], "the taking that was taken back is none"


async def test_the_first_taking_says_its_fact_in_its_own_transaction(transactions: Transactions) -> None:
    class Begins(SomeWork):
        async def begin(self, session: AsyncSession, fence: Fence, job: Job) -> None:
            self.begun.append(job)
            Outbox("some").add(session, uploaded())

    await note(transactions)
    work = Begins(failures=[Transient("some.code", "")])
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "done"))
    assert len(work.runs) == 2
    assert [job.attempt for job in work.begun] == [1], "a second taking has not begun again"
    async with transactions.begin() as session:
        assert await session.scalar(select(func.count()).select_from(OutboxRow)) == 1


async def test_the_payload_and_the_attempt_reach_the_work(transactions: Transactions) -> None:
    async with transactions.begin() as session:
        await jobs.add(session, kind="some", subject="s", version=3, owner="a", part=2, payload={"pages": [1, 2]})
    work = SomeWork()
    async with working(transactions, work):
        await until(lambda: len(work.finished) == 1)
    job = work.runs[0]
    assert (job.version, job.part, job.owner, job.payload) == (3, 2, "a", {"pages": [1, 2]})


# failures


@pytest.mark.parametrize("tries", [1, 3])
async def test_a_transient_failure_is_tried_exactly_as_often_as_allowed(transactions: Transactions, tries: int) -> None:
    await note(transactions)
    work = SomeWork(max_tries=tries, failures=[Transient("store.away", "") for _ in range(10)])
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "failed"))
    assert len(work.runs) == tries
    assert [failure.code for _, failure in work.given_up] == ["store.away"]


async def test_a_permanent_failure_is_not_tried_again(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(failures=[Permanent("file.corrupt", "")])
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "failed"))
    assert len(work.runs) == 1
    assert isinstance(work.given_up[0][1], Permanent)


async def test_an_unexpected_error_counts_as_transient(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(failures=[KeyError("who knows")])
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "done"))
    assert [job.tries for job in work.runs] == [0, 1]


async def test_work_that_cancels_itself_is_no_handing_back(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(max_tries=2, failures=[asyncio.CancelledError(), asyncio.CancelledError()])
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "failed"))
    assert len(work.runs) == 2


async def test_retry_after_is_honoured(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(failures=[Transient("provider.busy", "", retry_after=120)])
    async with working(transactions, work):
        await until(lambda: was_tried(transactions))
        row = await the_job(transactions)
        async with transactions.begin() as session:
            left = await session.scalar(select(JobRow.available_at - func.clock_timestamp()))
    assert left is not None
    assert timedelta(seconds=110) < left <= timedelta(seconds=120)
    assert (row.tries, row.failure) == (1, "provider.busy")


async def test_wrong_configuration_pauses_the_work_and_burns_no_try(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await note(transactions)
    await note(transactions, "other")
    work = SomeWork(failures=[Misconfigured("provider.key", "the key was refused")])
    async with working(transactions, work) as worker:
        await until(lambda: worker.pause.reason is not None)
        assert worker.pause.reason == "some: provider.key: the key was refused"
        await until(lambda: is_in(transactions, "waiting", work.runs[0].subject))
        worker.wake()
        assert len(work.runs) == 1, "nobody tries while it stands still"
        assert (await the_job(transactions, work.runs[0].subject)).tries == 0
        # The time has come to look whether it was mended.
        monkeypatch.setattr(Pause, "is_over", True)
        async with transactions.driver() as driver:
            await driver.execute("UPDATE jobs SET available_at = now()")
        worker.wake()
        await until(lambda: len(work.finished) == 2)
        assert worker.pause.reason is None


async def test_what_pauses_the_light_ones_is_over_for_them_when_it_is_for_the_others(
    transactions: Transactions,
) -> None:
    worker, light = workers_of(SomeWork(light_concurrency=1), transactions)
    light.pause.begin("some: wrong")
    await note(transactions)
    async with transactions.driver() as driver:
        taken, _ = await taking.take(driver, kind="some", lease=timedelta(seconds=30), most=1)
    worker._start(taken[0])
    await until(lambda: is_in(transactions, "done"))
    assert (worker.pause.reason, light.pause.reason) == (None, None)


async def test_work_that_may_not_fail_goes_on_and_alerts(transactions: Transactions) -> None:
    await note(transactions)
    alerts = metrics.JOB_ALERTS.labels("some")
    before = alerts._value.get()
    work = SomeWork(max_tries=None, failures=[Transient("store.away", "") for _ in range(5)] + [Permanent("x", "")])
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "done"))
    assert len(work.runs) == 7
    assert work.given_up == []
    assert alerts._value.get() > before


# leases


async def test_three_leases_that_ran_out_end_a_job(transactions: Transactions) -> None:
    await note(transactions)
    for crashes in range(3):
        async with transactions.driver() as driver:
            (taken,), _ = await taking.take(driver, kind="some", lease=timedelta(seconds=30), most=1)
        assert taken.job.crashes == crashes
        await run_out(transactions)
    work = SomeWork()
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "failed"))
    assert work.runs == [], "a fourth worker is not risked"
    failure = work.given_up[0][1]
    assert isinstance(failure, CrashLoop)
    assert failure.code == "processing.crashed"


async def test_a_lease_is_renewed_while_the_work_goes_on(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True)
    async with working(transactions, work) as worker:
        await work.started.wait()
        async with transactions.driver() as driver:
            await driver.execute("UPDATE jobs SET lease_until = now() + interval '1 second'")
        await worker.renew()
        async with transactions.begin() as session:
            assert await session.scalar(select(JobRow.lease_until > func.now() + timedelta(seconds=20)))
        work.gate.set()
        await until(lambda: is_in(transactions, "done"))


async def test_a_zombies_final_transaction_changes_nothing(transactions: Transactions) -> None:
    await note(transactions)
    zombie, winner = SomeWork(held=True), SomeWork()
    async with working(transactions, zombie):
        await zombie.started.wait()
        await run_out(transactions)
        async with working(transactions, winner):
            await until(lambda: len(winner.finished) == 1)
        zombie.gate.set()
        await until(lambda: len(zombie.lost_jobs) == 1)
    assert zombie.finished == []
    assert zombie.erased == [], "its winner wrote the same: nothing came too late"
    assert [job.attempt for job in winner.finished] == [2]
    assert (await the_job(transactions)).state == "done"


async def test_whoever_lost_its_lease_is_stopped(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True)
    async with working(transactions, work) as worker:
        await work.started.wait()
        await run_out(transactions)
        await worker.renew()
        await until(lambda: len(work.lost_jobs) == 1)
        assert work.finished == []


async def test_whoever_lost_its_lease_is_stopped_though_its_worker_has_the_job_again(
    transactions: Transactions,
) -> None:
    await note(transactions)
    work = SomeWork(held=True, concurrency=2)
    async with working(transactions, work) as worker:
        await work.started.wait()
        await run_out(transactions)
        worker.wake()
        await until(lambda: len(work.runs) == 2)
        await worker.renew()
        await until(lambda: [job.attempt for job in work.lost_jobs] == [1])
        work.gate.set()
        await until(lambda: [job.attempt for job in work.finished] == [2])


async def test_a_stopping_worker_hands_its_jobs_back_uncounted(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True)
    async with working(transactions, work):
        await work.started.wait()
    row = await the_job(transactions)
    assert (row.state, row.attempt, row.tries, row.crashes, row.lease_until) == ("waiting", 1, 0, 0, None)
    successor = SomeWork()
    async with working(transactions, successor):
        await until(lambda: len(successor.finished) == 1)


async def test_a_commit_whose_answer_was_lost_is_no_defeat(transactions: Transactions) -> None:
    class Unlucky(SomeWork):
        async def run(self, job: Job) -> Finish:
            finish = await super().run(job)
            cuts = iter([True])

            async def finish_and_lose_the_answer(session: AsyncSession, fence: Fence) -> None:
                await finish(session, fence)
                if next(cuts, False):
                    await (await driver_of(session)).execute("COMMIT")
                    raise OperationalError("COMMIT", None, ConnectionResetError())

            return finish_and_lose_the_answer

    await note(transactions)
    work = Unlucky()
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "done"))
    assert len(work.finished) == 1
    assert work.lost_jobs == []


# deletions, newer versions, failures: what came too late


async def test_a_late_worker_erases_what_it_wrote_after_a_deletion(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True)
    async with working(transactions, work):
        await work.started.wait()
        await change(transactions, Fence.delete)
        work.gate.set()
        await until(lambda: is_in(transactions, "cancelled"))
    assert work.finished == []
    assert len(work.erased) == 1


async def test_a_deletion_need_not_wait_for_the_work(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True)
    async with working(transactions, work) as worker:
        await work.started.wait()
        await change(transactions, Fence.delete)
        worker.look_at_fences("another subject")
        worker.look_at_fences("s")
        await until(lambda: is_in(transactions, "cancelled"))
    assert len(work.erased) == 1


async def test_a_zombie_of_a_deleted_subject_erases_too(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True)
    async with working(transactions, work):
        await work.started.wait()
        await run_out(transactions)
        async with transactions.begin() as session:
            (await fences.lock(session, "s")).delete()
            assert await jobs.cancel(session, "s") == 1
        work.gate.set()
        await until(lambda: len(work.erased) == 1)
    assert work.finished == []
    assert len(work.lost_jobs) == 1


async def test_erasing_is_repeated_until_it_succeeds(transactions: Transactions) -> None:
    class Stubborn(SomeWork):
        async def erase_late(self, job: Job) -> None:
            await super().erase_late(job)
            if len(self.erased) < 3:
                raise Transient("store.away", "")

    await note(transactions)
    work = Stubborn(held=True)
    async with working(transactions, work):
        await work.started.wait()
        await change(transactions, Fence.delete)
        work.gate.set()
        await until(lambda: is_in(transactions, "cancelled"))
    assert len(work.erased) == 3
    assert len(work.runs) == 1


async def test_work_for_a_deleted_subject_is_not_begun(transactions: Transactions) -> None:
    await note(transactions)
    await change(transactions, Fence.delete)
    work = SomeWork()
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "cancelled"))
    assert work.runs == work.erased == []


async def test_erasing_goes_on_for_a_deleted_subject(transactions: Transactions) -> None:
    await note(transactions)
    await change(transactions, Fence.delete)
    work = SomeWork(max_tries=None)
    async with working(transactions, work):
        await until(lambda: is_in(transactions, "done"))
    assert len(work.finished) == 1


async def test_a_superseded_version_says_nothing_and_erases_nothing(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True)
    async with working(transactions, work) as worker:
        await work.started.wait()
        await change(transactions, lambda fence: fence.hear(2))
        await worker.renew()
        assert work.erased == [], "a newer version that is merely running is no reason to stop"
        work.gate.set()
        await until(lambda: is_in(transactions, "cancelled"))
    assert work.finished == work.erased == []


async def test_below_the_live_version_and_after_a_failure_is_too_late(transactions: Transactions) -> None:
    for subject, late in (("s", lambda fence: fence.raise_live(2)), ("t", lambda fence: fence.fail(1))):
        await note(transactions, subject)
        work = SomeWork(held=True)
        async with working(transactions, work) as worker:
            await work.started.wait()
            await change(transactions, late, subject)
            await worker.renew()
            await until(lambda: len(work.erased) == 1)  # noqa: B023
        assert (await the_job(transactions, subject)).state == "cancelled"


async def test_giving_up_says_nothing_about_a_version_that_is_over(transactions: Transactions) -> None:
    await note(transactions)
    work = SomeWork(held=True, failures=[Permanent("file.corrupt", "")])
    async with working(transactions, work):
        await work.started.wait()
        await change(transactions, lambda fence: fence.hear(2))
        work.gate.set()
        await until(lambda: is_in(transactions, "cancelled"))
    assert work.given_up == []


# what two do at once


class Batches(SomeWork):
    """Parts that count themselves; the last one says so."""

    async def run(self, job: Job) -> Finish:
        await super().run(job)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            counted = text("UPDATE counted SET done = done + 1 WHERE subject = :s RETURNING done = total")
            if await session.scalar(counted, {"s": job.subject}):
                self.finished.append(job)

        return finish


async def test_of_two_last_batches_at_once_exactly_one_is_the_last(transactions: Transactions) -> None:
    async with transactions.begin() as session:
        await session.execute(text("CREATE TABLE counted (subject text, done int, total int)"))
        await session.execute(text("INSERT INTO counted VALUES ('s', 0, 8)"))
    for part in range(8):
        await note(transactions, part=part)
    one, two = (Batches(concurrency=4, held=True) for _ in range(2))
    async with working(transactions, one), working(transactions, two):
        await until(lambda: len(one.runs) + len(two.runs) == 8)
        one.gate.set()
        two.gate.set()
        await until(lambda: len(one.finished) + len(two.finished) == 1)
    async with transactions.begin() as session:
        assert await session.scalar(text("SELECT done FROM counted")) == 8


async def test_ending_twice_ends_once(transactions: Transactions) -> None:
    await note(transactions)
    async with transactions.driver() as driver:
        (taken,), _ = await taking.take(driver, kind="some", lease=timedelta(seconds=30), most=1)
    effects = []

    async def act(session: AsyncSession, fence: Fence) -> None:
        effects.append(fence.subject)

    async def end() -> Ended:
        return await finishing.end(transactions, taken.job, state="done", act=act, heeds_fence=True)

    endings = await asyncio.gather(end(), end())
    assert [ended.ending for ended in endings] == [Ending.WON, Ending.WON], "both are this very attempt"
    assert effects == ["s"]

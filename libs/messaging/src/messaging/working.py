"""Running one kind of work: take, do, renew, end. What a work says of itself is in `messaging.workers`."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import structlog
from chassis import metrics
from chassis.database import is_transient
from chassis.failures import CrashLoop, Failure, Misconfigured, Permanent, Transient
from chassis.telemetry import continue_trace, span
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import fences, finishing, taking
from messaging.fences import Fence
from messaging.finishing import Act, Ended, Ending
from messaging.jobs import Job
from messaging.taking import Key, Taken, key_of
from messaging.transactions import Transactions
from messaging.waking import woken_by
from messaging.workers import Work

CRASHES = 3  # leases that ran out; then it is the job that kills its workers
RENEW_EVERY = 2.0  # seconds, or a third of the lease: how long work may go on that is too late
HELD_ELSEWHERE = (0.005, 0.02, 0.05, 0.1)  # seconds until a job is tried for again whose fence was locked
PAUSES = (5.0, 10.0, 20.0, 30.0)  # seconds, while the configuration is wrong
DATABASE_PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)
DATABASE_PATIENCE = 300.0
LONGEST_RETRY_AFTER = 3600.0
HAND_BACK_SECONDS = 10.0

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)

Reason = Literal["late", "lost", "stopping"]


@dataclass(eq=False)
class _Running:
    """A taken job in this process. `stopped` says why its work was ended before it was done."""

    taken: Taken
    task: "asyncio.Task[None] | None" = None
    work: "asyncio.Task[Any] | None" = None
    stopped: Reason | None = None

    @property
    def job(self) -> Job:
        return self.taken.job

    def stop(self, reason: Reason) -> None:
        if self.stopped is None:
            self.stopped = reason
        if self.work is not None:
            self.work.cancel()


@dataclass
class _Pause:
    """How long this kind stands still because something is configured wrongly."""

    reason: str | None = None
    length: int = 0
    until: float = 0.0

    def begin(self, reason: str) -> float:
        seconds = PAUSES[min(self.length, len(PAUSES) - 1)]
        if time.monotonic() >= self.until:
            self.length += 1
            self.until = time.monotonic() + seconds
        self.reason = reason
        return max(0.0, self.until - time.monotonic())

    def end(self) -> None:
        self.reason, self.length, self.until = None, 0, 0.0


@dataclass
class Worker:
    """Does one kind of work, as many jobs at a time as it allows."""

    work: Work
    transactions: Transactions
    wake_kind: Callable[[str], None] = lambda _kind: None
    _running: dict[Key, _Running] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _renewal: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False
    _pause: _Pause = field(default_factory=_Pause)
    _held_elsewhere: int = 0
    _more: bool = False

    @property
    def paused(self) -> str | None:
        """What is configured wrongly, if that is why this kind of work stands still."""
        return self._pause.reason

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def look_at_fences(self, subject: str | None = None) -> None:
        """A fence has changed: see whether what is running still makes sense."""
        if subject is None or any(key[0] == subject for key in self._running):
            self._renewal.set()

    async def run(self) -> None:
        """Take and do jobs until `stop`."""
        renewing = asyncio.create_task(self._renew_leases())
        try:
            while not self._stopping:
                await self._woken.wait()
                self._woken.clear()
                self._more = True  # whoever finds no free place leaves it to those who give one back
                await self._take_what_is_due()
        finally:
            await self._hand_back_all()
            renewing.cancel()

    def stop(self) -> None:
        """Take nothing more, and let what is running be handed back. `run` then returns."""
        self._stopping = True
        self._woken.set()

    async def _take_what_is_due(self) -> None:
        while not self._stopping and (free := self._free()):
            try:
                taken, due = await self._take(free)
            except Exception as error:
                if is_transient(error):
                    log.warning("taking jobs failed", kind=self.work.kind, error=type(error).__name__)
                else:
                    log.exception("taking jobs failed", kind=self.work.kind)
                self._wake_after(1.0)
                return
            for each in taken:
                self._start(each)
            # A lone owner's jobs are taken at once, as far as there are any. Of several, one may have more.
            self._more = len(taken) == free or (due > 1 and bool(taken))
            if due and not taken:
                self._wake_after(HELD_ELSEWHERE[min(self._held_elsewhere, len(HELD_ELSEWHERE) - 1)])
                self._held_elsewhere += 1
            if not self._more:
                return
            self._held_elsewhere = 0

    def _free(self) -> int:
        if self._pause.reason is None:
            return self.work.concurrency - len(self._running)
        # While the configuration is wrong, one job now and then finds out whether it still is.
        return 1 if not self._running and time.monotonic() >= self._pause.until else 0

    async def _take(self, most: int) -> tuple[list[Taken], int]:
        kind, lease = self.work.kind, self.work.lease
        if type(self.work).begin is Work.begin:
            async with self.transactions.statement() as connection:
                return await taking.take(connection, kind=kind, lease=lease, most=most)
        async with self.transactions.begin() as session:
            taken, due = await taking.take(session, kind=kind, lease=lease, most=most, with_fence=True)
            for each in taken:
                if each.job.attempt == 1:
                    await self._begin(session, each.job)
        for kind in woken_by(session):
            self.wake_kind(kind)
        return taken, due

    async def _begin(self, session: AsyncSession, job: Job) -> None:
        fence = await fences.lock(session, job.subject)
        if not (self.work.heeds_fence and fence.is_over(job.version)):
            with continue_trace(job.traceparent):
                await self.work.begin(session, fence, job)

    def _start(self, taken: Taken) -> None:
        running = _Running(taken)
        self._running[key_of(taken.job)] = running
        running.task = asyncio.create_task(self._do(running))
        running.task.add_done_callback(lambda _task: self._ended(running))

    def _ended(self, running: _Running) -> None:
        if self._running.get(key_of(running.job)) is running:
            del self._running[key_of(running.job)]
        if self._more or self._pause.reason is not None:
            self._woken.set()

    async def _do(self, running: _Running) -> None:
        job, began = running.job, time.perf_counter()
        with (
            continue_trace(job.traceparent),
            structlog.contextvars.bound_contextvars(subject=job.subject, kind=job.kind, attempt=job.attempt),
            span(f"work {job.kind}", subject=job.subject, version=job.version, attempt=job.attempt),
        ):
            try:
                outcome = await self._outcome(running)
            except Exception:
                # The lease runs out, and somebody takes the job again.
                log.exception("a job could not be ended")
                outcome = "error"
            metrics.JOB_SECONDS.labels(job.kind, outcome).observe(time.perf_counter() - began)

    async def _outcome(self, running: _Running) -> str:
        job = running.job
        if self.work.max_tries is not None and job.crashes >= CRASHES:
            return await self._give_up(job, CrashLoop("processing.crashed", f"its worker died {job.crashes} times"))
        if self.work.heeds_fence and running.taken.fence.is_too_late(job.version):
            return await self._erase_late(job, written=job.attempt > 1)
        try:
            running.work = asyncio.ensure_future(self.work.run(job))
            if running.stopped:
                running.work.cancel()
            finish = await running.work
            self._pause.end()
            return await self._conclude(job, await self._end(job, state="done", act=finish))
        except asyncio.CancelledError:
            return await self._stopped(running)
        except Exception as error:
            return await self._failed(job, error)

    async def _stopped(self, running: _Running) -> str:
        job = running.job
        match running.stopped:
            case "late":
                return await self._erase_late(job, written=True)
            case "lost":
                late = self.work.heeds_fence and await finishing.is_too_late(self.transactions, job)
                return await self._conclude(job, Ended(Ending.LOST_AND_LATE if late else Ending.LOST))
            case "stopping":
                await self._patiently(lambda: finishing.put_back(self.transactions, job))
                return "handed_back"
            case None:
                return await self._failed(job, Transient("processing.unexpected", "it was cancelled by itself"))

    async def _failed(self, job: Job, error: Exception) -> str:
        failure = error if isinstance(error, Failure) else Transient("processing.unexpected", type(error).__name__)
        if failure is not error:
            log.error("work failed unexpectedly", exc_info=error)
        if isinstance(failure, Misconfigured):
            return await self._wait_for_configuration(job, failure)
        self._pause.end()
        never_fails = self.work.max_tries is None
        last = self.work.max_tries is not None and job.tries + 1 >= self.work.max_tries
        if not never_fails and (last or isinstance(failure, Permanent | CrashLoop)):
            return await self._give_up(job, failure)
        return await self._try_again(job, failure)

    async def _try_again(self, job: Job, failure: Failure) -> str:
        delay = self._backoff(job.tries, getattr(failure, "retry_after", None))
        if self.work.max_tries is None and self._at_ceiling(job.tries):
            metrics.JOB_ALERTS.labels(job.kind).inc()
            log.error("work that must be done keeps failing", tries=job.tries + 1, code=failure.code)
        else:
            log.warning("work is tried again", tries=job.tries + 1, code=failure.code, delay=round(delay, 3))
        await self._put_back(job, delay, tried=True, failure=failure)
        return "retried"

    async def _wait_for_configuration(self, job: Job, failure: Misconfigured) -> str:
        delay = self._pause.begin(f"{self.work.kind}: {failure}")
        log.error("work stands still until the configuration is mended", code=failure.code, detail=failure.detail)
        await self._put_back(job, delay, tried=False, failure=failure)
        return "misconfigured"

    async def _put_back(self, job: Job, delay: float, *, tried: bool, failure: Failure) -> None:
        metrics.JOB_RETRIES.labels(job.kind, type(failure).__name__.lower()).inc()
        await self._patiently(
            lambda: finishing.put_back(
                self.transactions, job, delay=timedelta(seconds=delay), tried=tried, failure=failure.code
            )
        )
        self._wake_after(delay)

    async def _give_up(self, job: Job, failure: Failure) -> str:
        async def act(session: AsyncSession, fence: Fence) -> None:
            await self.work.give_up(session, fence, job, failure)

        ended = await self._end(job, state="failed", act=act, failure=failure)
        outcome = await self._conclude(job, ended)
        if outcome == "done":
            log.warning("work was given up", code=failure.code, tries=job.tries + 1, crashes=job.crashes)
            return "failed"
        return outcome

    async def _erase_late(self, job: Job, *, written: bool) -> str:
        """The version is too late: erase what this job wrote outside, and end it."""
        if written:
            try:
                await self.work.erase_late(job)
            except Exception as error:
                log.warning("erasing what came too late failed", error=type(error).__name__)
                failure = error if isinstance(error, Failure) else Transient("processing.unexpected", repr(error)[:100])
                await self._put_back(job, self._backoff(job.tries, None), tried=True, failure=failure)
                return "retried"
        await self._end(job, state="cancelled", act=_nothing, erased=True)
        return "too_late"

    async def _conclude(self, job: Job, ended: Ended) -> str:
        for kind in ended.woken:
            self.wake_kind(kind)
        if ended.ending is Ending.LATE:
            return await self._erase_late(job, written=True)
        if ended.ending in (Ending.LOST, Ending.LOST_AND_LATE):
            await self._clear_up(job, late=ended.ending is Ending.LOST_AND_LATE)
            return "lost"
        return "over" if ended.ending is Ending.OVER else "done"

    async def _clear_up(self, job: Job, *, late: bool) -> None:
        try:
            await self.work.lost(job)
            if late:
                await self.work.erase_late(job)
        except Exception:
            # What is left over is found by the sweeper.
            log.exception("clearing up after a lost attempt failed")

    async def _end(
        self, job: Job, *, state: str, act: Act, erased: bool = False, failure: Failure | None = None
    ) -> Ended:
        code = None if failure is None else failure.code
        return await self._patiently(
            lambda: finishing.end(
                self.transactions,
                job,
                state=state,
                act=act,
                heeds_fence=self.work.heeds_fence,
                erased=erased,
                failure=code,
            )
        )

    async def _patiently(self, transaction: Callable[[], Awaitable[T]]) -> T:
        """Repeat the transaction while the database is the reason that it fails: what was done is not done again."""
        began, failures = time.monotonic(), 0
        while True:
            try:
                return await transaction()
            except Exception as error:
                if not is_transient(error) or time.monotonic() - began > DATABASE_PATIENCE:
                    raise
                log.warning("a final transaction is repeated", error=type(error).__name__)
            await asyncio.sleep(DATABASE_PAUSES[min(failures, len(DATABASE_PAUSES) - 1)])
            failures += 1

    def _backoff(self, tries: int, retry_after: float | None) -> float:
        """Seconds until the next try: doubled each time, spread so that a crowd does not come back as one."""
        longest = self.work.backoff_ceiling.total_seconds()
        delay = min(longest, self.work.backoff.total_seconds() * 2.0 ** min(tries, 30))
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return max(delay * spread, min(retry_after or 0.0, LONGEST_RETRY_AFTER))

    def _at_ceiling(self, tries: int) -> bool:
        return self.work.backoff * 2.0 ** min(tries, 30) >= self.work.backoff_ceiling

    def _wake_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._woken.set)

    async def _renew_leases(self) -> None:
        every = min(self.work.lease.total_seconds() / 3, RENEW_EVERY)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await self._renewal.wait()
            self._renewal.clear()
            try:
                await self.renew()
            except Exception as error:
                log.warning("leases were not renewed", kind=self.work.kind, error=type(error).__name__)

    async def renew(self) -> None:
        """Prolong the leases of what is running, and stop what has lost its own or has become too late."""
        running = list(self._running.values())
        if not running:
            return
        async with self.transactions.statement() as connection:
            held = await taking.renew(
                connection, kind=self.work.kind, lease=self.work.lease, jobs=[each.job for each in running]
            )
        for each in running:
            fence = held.get(key_of(each.job))
            if fence is None:
                each.stop("lost")
            elif self.work.heeds_fence and fence.is_too_late(each.job.version):
                each.stop("late")

    async def _hand_back_all(self) -> None:
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for running in list(self._running.values()):
            running.stop("stopping")
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=HAND_BACK_SECONDS)
            for task in unfinished:
                task.cancel()


async def _nothing(session: AsyncSession, fence: Fence) -> None:
    """A final transaction that says nothing."""

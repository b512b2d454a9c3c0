"""One taking of one job, from its begin to one of its ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import structlog
from chassis import metrics
from chassis.failures import CrashLoop, Failure, Misconfigured, Permanent, Transient
from chassis.telemetry import continue_trace, span
from chassis.transactions import Transactions
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import finishing
from messaging.ending_together import EndingTogether
from messaging.fences import Fence
from messaging.finishing import Act, Ended, Ending
from messaging.jobs import Job
from messaging.pausing import Pause, at_ceiling, back_off
from messaging.repeating import repeat_while_away
from messaging.taking import Taken
from messaging.workers import Work

CRASHES = 3  # leases that ran out while everybody else renewed theirs; then it is the job that kills its workers
DATABASE_PATIENCE = 300.0  # seconds; what was done is not done again because the database was away

Reason = Literal["late", "lost", "stopping"]

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What the attempts of one kind of work share."""

    work: Work
    transactions: Transactions
    endings: EndingTogether
    pause: Pause
    wake_kind: Callable[[str], None]
    wake_after: Callable[[timedelta], None]


class Attempt:
    """A taken job in this process."""

    def __init__(self, taken: Taken, surroundings: Surroundings) -> None:
        self.job: Job = taken.job
        self._fence = taken.fence
        self._work = surroundings.work
        self._around = surroundings
        self._running: asyncio.Future[Any] | None = None
        self._stopped: Reason | None = None

    def stop(self, reason: Reason) -> None:
        """End the work before it is done; if it is done already, its final transaction finds out for itself."""
        self._stopped = self._stopped or reason
        if self._running is not None:
            self._running.cancel()

    async def do(self) -> None:
        """Never raises, but for its own cancellation."""
        job, began = self.job, time.perf_counter()
        ids = {self._work.about: job.subject}
        with (
            continue_trace(job.traceparent),
            structlog.contextvars.bound_contextvars(**ids, kind=job.kind, attempt=job.attempt),
            span(f"work {job.kind}", **ids, version=job.version, attempt=job.attempt),
        ):
            try:
                outcome = await self._outcome()
            except Exception:
                # The lease runs out, and somebody takes the job again.
                log.exception("a job could not be ended")
                outcome = "error"
            seconds = time.perf_counter() - began
            metrics.JOB_SECONDS.labels(job.kind, outcome).observe(seconds)
            log.info("work ended", outcome=outcome, version=job.version, ms=round(seconds * 1000, 1))

    async def _outcome(self) -> str:
        if self._may_fail and self.job.crashes >= CRASHES:
            return await self._give_up(CrashLoop("processing.crashed", f"its worker died {self.job.crashes} times"))
        if self._work.heeds_fence and self._fence.is_too_late(self.job.version):
            return await self._erase_late(written=self.job.attempt > 1)
        try:
            self._running = asyncio.ensure_future(self._work.run(self.job))
            if self._stopped is not None:
                self._running.cancel()
            finish = await self._running
            self._around.pause.end()
            return await self._conclude(await self._patiently(lambda: self._around.endings.done(self.job, finish)))
        except asyncio.CancelledError:
            return await self._was_stopped()
        except Exception as error:
            return await self._failed(error)

    @property
    def _may_fail(self) -> bool:
        return self._work.max_tries is not None

    async def _was_stopped(self) -> str:
        match self._stopped:
            case "late":
                return await self._erase_late(written=True)
            case "lost":
                late = self._work.heeds_fence and await finishing.is_too_late(self._around.transactions, self.job)
                return await self._conclude(Ended(Ending.LOST_AND_LATE if late else Ending.LOST))
            case "stopping":
                await self._patiently(lambda: finishing.put_back(self._around.transactions, self.job))
                return "handed_back"
            case None:
                return await self._failed(Transient("processing.unexpected", "it was cancelled by itself"))

    async def _failed(self, error: Exception) -> str:
        failure = _failure_of(error)
        if isinstance(failure, Misconfigured):
            return await self._stand_still(failure)
        self._around.pause.end()
        limit = self._work.max_tries
        if limit is not None and (self.job.tries + 1 >= limit or isinstance(failure, Permanent | CrashLoop)):
            return await self._give_up(failure)
        return await self._try_again(failure)

    async def _try_again(self, failure: Failure) -> str:
        times = {"first": self._work.backoff, "ceiling": self._work.backoff_ceiling}
        delay = back_off(self.job.tries, **times, retry_after=getattr(failure, "retry_after", None))
        if not self._may_fail and at_ceiling(self.job.tries, **times):
            metrics.JOB_ALERTS.labels(self.job.kind).inc()
            log.error("work that must be done keeps failing", tries=self.job.tries + 1, code=failure.code)
        else:
            log.warning("work is tried again", tries=self.job.tries + 1, code=failure.code, delay=str(delay))
        await self._put_back(failure, delay, tried=True)
        return "retried"

    async def _stand_still(self, failure: Misconfigured) -> str:
        delay = self._around.pause.begin(f"{self.job.kind}: {failure}")
        log.error("work stands still until the configuration is mended", code=failure.code, detail=failure.detail)
        await self._put_back(failure, delay, tried=False)
        return "misconfigured"

    async def _put_back(self, failure: Failure, delay: timedelta, *, tried: bool) -> None:
        metrics.JOB_RETRIES.labels(self.job.kind, type(failure).__name__.lower()).inc()
        transactions = self._around.transactions
        await self._patiently(
            lambda: finishing.put_back(transactions, self.job, delay=delay, tried=tried, failure=failure.code)
        )
        self._around.wake_after(delay)

    async def _give_up(self, failure: Failure) -> str:
        async def act(session: AsyncSession, fence: Fence) -> None:
            await self._work.give_up(session, fence, self.job, failure)

        outcome = await self._conclude(await self._end("failed", act, failure=failure.code))
        if outcome != "done":
            return outcome
        log.warning("work was given up", code=failure.code, tries=self.job.tries + 1, crashes=self.job.crashes)
        return "failed"

    async def _erase_late(self, *, written: bool) -> str:
        """The version is too late: erase what this job wrote outside, and only then end it."""
        if written:
            try:
                await self._work.erase_late(self.job)
            except Exception as error:
                return await self._try_again(_failure_of(error))
        await self._end("cancelled", _nothing, erased=True)
        return "too_late"

    async def _conclude(self, ended: Ended) -> str:
        for kind in ended.woken:
            self._around.wake_kind(kind)
        match ended.ending:
            case Ending.WON:
                return "done"
            case Ending.OVER:
                return "over"
            case Ending.LATE:
                return await self._erase_late(written=True)
            case Ending.LOST | Ending.LOST_AND_LATE:
                await self._clear_up(late=ended.ending is Ending.LOST_AND_LATE)
                return "lost"

    async def _clear_up(self, *, late: bool) -> None:
        try:
            await self._work.lost(self.job)
            if late:
                await self._work.erase_late(self.job)
        except Exception:
            # What is left over is found by the sweeper.
            log.exception("clearing up after a lost attempt failed")

    async def _end(self, state: str, act: Act, *, erased: bool = False, failure: str | None = None) -> Ended:
        return await self._patiently(
            lambda: finishing.end(
                self._around.transactions,
                self.job,
                state=state,
                act=act,
                heeds_fence=self._work.heeds_fence,
                erased=erased,
                failure=failure,
            )
        )

    async def _patiently(self, transaction: Callable[[], Awaitable[T]]) -> T:
        return await repeat_while_away(transaction, patience=DATABASE_PATIENCE)


def _failure_of(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    log.error("work failed unexpectedly", exc_info=error)
    return Transient("processing.unexpected", type(error).__name__)


async def _nothing(session: AsyncSession, fence: Fence) -> None:
    """A final transaction that says nothing."""

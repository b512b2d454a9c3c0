"""Running one kind of work: its jobs are taken, kept and, at the end, handed back."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from chassis.database import is_transient
from chassis.telemetry import continue_trace
from chassis.transactions import Transactions, driver_of
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import fences, taking
from messaging.attempting import Attempt, Surroundings
from messaging.ending_together import EndingTogether
from messaging.jobs import Job
from messaging.pausing import Pause
from messaging.taking import Key, Taken, key_of
from messaging.waking import woken_by
from messaging.workers import Work

RENEW_EVERY = 2.0  # seconds, or a third of the lease: how long work may go on that is too late
AGAIN = timedelta(seconds=1)
HELD_ELSEWHERE = (0.005, 0.02, 0.05, 0.1)  # seconds until a job is tried for again whose fence was locked
HAND_BACK_SECONDS = 8.0

log = structlog.stdlib.get_logger(__name__)


@dataclass
class Begun:
    """Jobs that a transaction has taken for a worker, which keeps places for them until it has ended."""

    worker: "Worker"
    places: int = 0
    taken: list[Taken] = field(default_factory=list)
    due: int = 0

    @property
    def has_room(self) -> bool:
        """Whether there were places enough for all that was due. Of several owners one may have more than its share."""
        return len(self.taken) < self.places and self.due <= 1

    def go(self) -> None:
        """The transaction is committed: do them."""
        self.worker._go(self)

    def forget(self) -> None:
        """It is not."""
        self.worker._go(Begun(self.worker, self.places))


def workers_of(
    work: Work, transactions: Transactions, wake_kind: Callable[[str], None] = lambda _kind: None
) -> "list[Worker]":
    """Whoever does this work: where it keeps places for light jobs, these have a worker of their own, named last.

    What pauses one pauses all, and ends for all.
    """
    pause = Pause()
    light = [Worker(work, transactions, wake_kind, light=True, pause=pause)] if work.light_concurrency else []
    return [Worker(work, transactions, wake_kind, pause=pause), *light]


class Worker:
    """Does one kind of work, as many jobs at a time as it allows; or only its `light` ones, on places of their own."""

    def __init__(
        self,
        work: Work,
        transactions: Transactions,
        wake_kind: Callable[[str], None] = lambda _kind: None,
        *,
        light: bool = False,
        pause: Pause | None = None,
    ) -> None:
        self.kind = work.kind
        self.name = f"{work.kind}, light" if light else work.kind
        self.pause = pause or Pause()
        self._work = work
        self._light = light
        self._places = work.light_concurrency if light else work.concurrency
        self._transactions = transactions
        self._wake_kind = wake_kind
        self._surroundings = Surroundings(
            work,
            transactions,
            EndingTogether(transactions, heeds_fence=work.heeds_fence),
            self.pause,
            wake_kind,
            self._wake_after,
        )
        self._running: dict[Key, tuple[Attempt, asyncio.Task[None]]] = {}
        self._woken = asyncio.Event()
        self._fence_changed = asyncio.Event()
        self._stopping = False
        self._held_elsewhere = 0
        self._more = False
        self._reserved = 0

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def look_at_fences(self, subject: str | None = None) -> None:
        """A fence has changed: see whether what is running still makes sense."""
        if subject is None or any(key[0] == subject for key in self._running):
            self._fence_changed.set()

    def stop(self) -> None:
        """Take nothing more, and let what is running be handed back. `run` then returns."""
        self._stopping = True
        self._woken.set()

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

    async def take_within(self, session: AsyncSession) -> Begun:
        """Take what is due in the transaction that has noted some of it, as far as there are free places.

        Saves a transaction, and the wait for it, at each step of each document.
        """
        places = 0 if self._stopping else max(0, self._free())
        if not places:
            return Begun(self)
        self._reserved += places
        try:
            taken, due = await self._take_in(session, places)
        except BaseException:
            self._reserved -= places
            raise
        return Begun(self, places, taken, due)

    async def renew(self) -> None:
        """Prolong the leases of what is running, and stop what has lost its own or has become too late."""
        attempts = [attempt for attempt, _ in self._running.values()]
        if not attempts:
            return
        jobs = sorted((attempt.job for attempt in attempts), key=key_of)
        async with self._transactions.driver() as driver:
            held = await taking.renew(driver, kind=self._work.kind, lease=self._work.lease, jobs=jobs)
        for attempt in attempts:
            fence = held.get(key_of(attempt.job))
            if fence is None:
                attempt.stop("lost")
            elif self._work.heeds_fence and fence.is_too_late(attempt.job.version):
                attempt.stop("late")

    async def _take_what_is_due(self) -> None:
        while self._more and not self._stopping and (free := self._free()):
            try:
                taken, due = await self._take(free)
            except Exception as error:
                log.warning("taking jobs failed", kind=self._work.kind, exc_info=not is_transient(error))
                self._wake_after(AGAIN)
                return
            self._begin_all(taken, due, places=free)

    def _go(self, begun: Begun) -> None:
        self._reserved -= begun.places
        # Whoever looked meanwhile has found no place, and left it to those who give one back.
        look_again = self._more or not begun.places
        if begun.places:
            self._begin_all(begun.taken, begun.due, places=begun.places)
        if look_again or self._more:
            self.wake()
        if self._stopping:
            self._hand_back()

    def _begin_all(self, taken: list[Taken], due: int, *, places: int) -> None:
        for each in taken:
            self._start(each)
        # A lone owner's jobs are taken at once, as far as there are any. Of several, one may have more.
        self._more = len(taken) == places or (due > 1 and bool(taken))
        self._mind_what_is_held(taken, due)

    def _free(self) -> int:
        if self.pause.reason is None:
            # A handler may have kept all places while jobs were being taken for the same ones: then there are too many.
            return max(0, self._places - len(self._running) - self._reserved)
        # While the configuration is wrong, one job now and then finds out whether it still is.
        return 1 if not self._running and self.pause.is_over else 0

    def _mind_what_is_held(self, taken: list[Taken], due: int) -> None:
        """Something was due and could not be locked: somebody holds its fence, for some milliseconds."""
        if taken or not due:
            self._held_elsewhere = 0
            return
        seconds = HELD_ELSEWHERE[min(self._held_elsewhere, len(HELD_ELSEWHERE) - 1)]
        self._held_elsewhere += 1
        self._wake_after(timedelta(seconds=seconds))

    async def _take(self, most: int) -> tuple[list[Taken], int]:
        if not self._begins:
            async with self._transactions.driver() as driver:
                return await taking.take(driver, kind=self.kind, lease=self._work.lease, most=most, light=self._light)
        async with self._transactions.begin() as session:
            taken, due = await self._take_in(session, most)
        for woken in woken_by(session):
            self._wake_kind(woken)
        return taken, due

    async def _take_in(self, session: AsyncSession, most: int) -> tuple[list[Taken], int]:
        lease, driver = self._work.lease, await driver_of(session)
        taken, due = await taking.take(
            driver, kind=self.kind, lease=lease, most=most, with_fence=self._begins, light=self._light
        )
        for each in taken:
            if self._begins and each.job.attempt == 1:
                await self._begin(session, each.job)
        return taken, due

    @property
    def _begins(self) -> bool:
        """Whether it says something when a job is taken for the first time."""
        return type(self._work).begin is not Work.begin

    async def _begin(self, session: AsyncSession, job: Job) -> None:
        fence = await fences.lock(session, job.subject)
        if not (self._work.heeds_fence and fence.is_over(job.version)):
            with continue_trace(job.traceparent):
                await self._work.begin(session, fence, job)

    def _start(self, taken: Taken) -> None:
        attempt = Attempt(taken, self._surroundings)
        task = asyncio.create_task(attempt.do())
        self._running[key_of(taken.job)] = attempt, task
        task.add_done_callback(lambda _task: self._ended(attempt))

    def _ended(self, attempt: Attempt) -> None:
        del self._running[key_of(attempt.job)]
        if self._more or self.pause.reason is not None:
            self._woken.set()

    def _wake_after(self, delay: timedelta) -> None:
        asyncio.get_running_loop().call_later(delay.total_seconds(), self._woken.set)

    async def _renew_leases(self) -> None:
        every = min(self._work.lease.total_seconds() / 3, RENEW_EVERY)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await self._fence_changed.wait()
            self._fence_changed.clear()
            try:
                await self.renew()
            except Exception as error:
                log.warning("leases were not renewed", kind=self._work.kind, exc_info=not is_transient(error))

    async def _hand_back_all(self) -> None:
        if running := self._hand_back():
            _, unfinished = await asyncio.wait(running, timeout=HAND_BACK_SECONDS)
            for task in unfinished:
                task.cancel()

    def _hand_back(self) -> "list[asyncio.Task[None]]":
        running = list(self._running.values())
        for attempt, _ in running:
            attempt.stop("stopping")
        return [task for _, task in running]

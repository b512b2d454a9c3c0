"""Every call to a provider goes through here: so many at a time, so long each, counted, its trouble given a kind."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Self, TypeVar

from chassis.failures import Failure, Transient
from chassis.metrics import PROVIDER_CALLS, PROVIDER_SECONDS

from models.failures import out_of_time

T = TypeVar("T")
Classify = Callable[[Exception], Failure]
"""Says which kind of failure an error of the provider's library is."""

LONGEST_COMMON_PAUSE = 120.0
"""In seconds. Then one of those who wait tries again, and hears whether the provider still wants the pause."""

LONGEST_RETRY_PAUSE = 5.0
"""A person waits: what asks for a longer pause is told to them instead."""


@dataclass(frozen=True)
class Patience:
    """How long somebody waits for all that a question needs of a provider: a place, tries, and the pauses between."""

    seconds: float
    until: float

    @classmethod
    def of(cls, seconds: float) -> Self:
        return cls(seconds, asyncio.get_running_loop().time() + seconds)

    @property
    def left(self) -> float:
        """In seconds; negative when it is over."""
        return self.until - asyncio.get_running_loop().time()


class Caller:
    """Makes one kind of call (`operation`) to one provider."""

    def __init__(self, *, provider: str, operation: str, in_flight: int, time_limit: float, classify: Classify) -> None:
        self._provider = provider
        self._operation = operation
        self._places = asyncio.Semaphore(in_flight)
        self._not_before = 0.0
        self._time_limit = time_limit
        self._classify = classify

    @asynccontextmanager
    async def place(self, patience: Patience | None = None) -> AsyncIterator[None]:
        """A place among the calls in flight; the call made in it is counted and timed, its trouble becomes a `Failure`.

        Whoever has patience waits for a place no longer than that, and tries even though the provider has just asked
        others for a pause. Whoever gives none has time: they wait for a place, and until such a pause is over.
        """
        await self._enter(patience)
        began = perf_counter()
        outcome = "cancelled"
        try:
            yield
            outcome = "ok"
        except Exception as error:
            failure = self.failure(error)
            outcome = failure.code.partition(".")[2]
            self._heed(failure)
            raise failure from error
        finally:
            self._places.release()
            PROVIDER_CALLS.labels(self._provider, self._operation, outcome).inc()
            PROVIDER_SECONDS.labels(self._provider, self._operation).observe(perf_counter() - began)

    async def within(self, step: Awaitable[T], patience: Patience | None = None) -> T:
        """One step of a call, within the time limit, or what is left of `patience` if that is less."""
        seconds = whole = self._time_limit
        if patience is not None and patience.left < seconds:
            seconds, whole = patience.left, patience.seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                return await step
        except TimeoutError as error:
            if limit.expired():
                raise out_of_time(whole) from error
            raise

    def failure(self, error: Exception) -> Failure:
        return error if isinstance(error, Failure) else self._classify(error)

    async def _enter(self, patience: Patience | None) -> None:
        if patience is not None:
            try:
                async with asyncio.timeout_at(patience.until):
                    await self._places.acquire()
            except TimeoutError as error:
                raise out_of_time(patience.seconds) from error
            return
        await self._places.acquire()
        while (left := self._pause_left) > 0:
            self._places.release()
            await asyncio.sleep(left)
            await self._places.acquire()

    @property
    def _pause_left(self) -> float:
        return self._not_before - asyncio.get_running_loop().time()

    def _heed(self, failure: Failure) -> None:
        """A pause that one call was asked for is kept by all: each would be refused, and its batch have a try less."""
        if isinstance(failure, Transient) and failure.retry_after is not None:
            pause = min(failure.retry_after, LONGEST_COMMON_PAUSE)
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + pause)


async def with_retries(do: Callable[[], Awaitable[T]], retries: int, patience: Patience) -> T:
    """`do`, again after trouble that may pass; for calls that somebody waits for."""
    for tries in range(retries):
        try:
            return await do()
        except Transient as failure:
            await pause_before_retry(failure, tries, patience)
    return await do()


async def pause_before_retry(failure: Transient, tries: int, patience: Patience) -> None:
    """Sleeps before the next try; raises `failure` if that would take too long for somebody who waits."""
    pause = 0.2 * 2**tries * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, not a secret
    if failure.retry_after is not None:
        pause = max(pause, failure.retry_after)
    if pause > min(LONGEST_RETRY_PAUSE, patience.left):
        raise failure
    await asyncio.sleep(pause)

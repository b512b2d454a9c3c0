"""Every call to a provider goes through here: so many at a time, so long each, counted, its trouble given a kind."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TypeVar

from chassis.failures import Failure, Transient
from chassis.metrics import PROVIDER_CALLS, PROVIDER_SECONDS

from models.failures import out_of_time

T = TypeVar("T")
Classify = Callable[[Exception], Failure]
"""Says which kind of failure an error of the provider's library is."""

LONGEST_RETRY_PAUSE = 5.0
"""A person waits: what asks for a longer pause is told to them instead."""


class Caller:
    """Makes one kind of call (`operation`) to one provider."""

    def __init__(self, *, provider: str, operation: str, in_flight: int, time_limit: float, classify: Classify) -> None:
        self._provider = provider
        self._operation = operation
        self._places = asyncio.Semaphore(in_flight)
        self._time_limit = time_limit
        self._classify = classify

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the calls in flight; the call made in it is counted and timed, its trouble becomes a `Failure`.

        Waiting for the place counts towards no time limit.
        """
        async with self._places:
            began = perf_counter()
            outcome = "cancelled"
            try:
                yield
                outcome = "ok"
            except Exception as error:
                failure = self.failure(error)
                outcome = failure.code.partition(".")[2]
                raise failure from error
            finally:
                PROVIDER_CALLS.labels(self._provider, self._operation, outcome).inc()
                PROVIDER_SECONDS.labels(self._provider, self._operation).observe(perf_counter() - began)

    async def within(self, step: Awaitable[T], at_most: float | None = None) -> T:
        """One step of a call, within the time limit, or `at_most` so many seconds if that is less."""
        seconds = self._time_limit if at_most is None else min(self._time_limit, at_most)
        try:
            async with asyncio.timeout(seconds) as limit:
                return await step
        except TimeoutError as error:
            if limit.expired():
                raise out_of_time(seconds) from error
            raise

    def failure(self, error: Exception) -> Failure:
        return error if isinstance(error, Failure) else self._classify(error)


async def with_retries(do: Callable[[], Awaitable[T]], retries: int) -> T:
    """`do`, again after trouble that may pass; for calls that somebody waits for."""
    for tries in range(retries):
        try:
            return await do()
        except Transient as failure:
            await pause_before_retry(failure, tries)
    return await do()


async def pause_before_retry(failure: Transient, tries: int) -> None:
    """Sleeps before the next try; raises `failure` if that would take too long for somebody who waits."""
    pause = 0.2 * 2**tries * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, not a secret
    if failure.retry_after is not None:
        pause = max(pause, failure.retry_after)
    if pause > LONGEST_RETRY_PAUSE:
        raise failure
    await asyncio.sleep(pause)

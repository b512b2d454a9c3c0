"""When the next try is due."""

import random
import time
from datetime import timedelta

from chassis.doubling import doubled
from chassis.failures import LONGEST_RETRY_AFTER

PAUSES = (5.0, 10.0, 20.0, 30.0)  # seconds, while the configuration is wrong


def back_off(tries: int, *, first: timedelta, ceiling: timedelta, retry_after: float | None = None) -> timedelta:
    """How long to wait after `tries` tries: doubled each time, and spread, so that a crowd does not return as one.

    `retry_after`, in seconds, is what the other side asked for: it is never asked again before.
    """
    delay = doubled(first, tries, ceiling=ceiling).total_seconds()
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return timedelta(seconds=max(delay * spread, min(retry_after or 0.0, LONGEST_RETRY_AFTER)))


def at_ceiling(tries: int, *, first: timedelta, ceiling: timedelta) -> bool:
    return doubled(first, tries, ceiling=ceiling) >= ceiling


class Pause:
    """A kind of work that stands still because something is configured wrongly, and when to look at it again."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._count = 0
        self._until = 0.0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def begin(self, reason: str) -> timedelta:
        """Stand still, longer each time in a row; gives how long."""
        if self.is_over:
            self._until = time.monotonic() + PAUSES[min(self._count, len(PAUSES) - 1)]
            self._count += 1
        self.reason = reason
        return timedelta(seconds=max(0.0, self._until - time.monotonic()))

    def end(self) -> None:
        self.reason, self._count, self._until = None, 0, 0.0

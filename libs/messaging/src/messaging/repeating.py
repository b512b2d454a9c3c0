"""Repeating a transaction while its database is the reason that it fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from chassis.database import is_transient, sqlstate

PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)

STATEMENT_CANCELLED = "57014"  # a statement that takes too long does so every time

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


async def repeat_while_away(
    transaction: Callable[[], Awaitable[T]], *, patience: float, on_away: Callable[[], None] = lambda: None
) -> T:
    """Run the whole transaction until it is through; raises what it raises for reasons of its own.

    After `patience` seconds without the database, raises what the last one raised.
    """
    began, repeated = time.monotonic(), 0
    while True:
        try:
            return await transaction()
        except Exception as error:
            if not is_away(error) or time.monotonic() - began > patience:
                raise
            on_away()
            log.warning("waiting for the database", error=type(error).__name__)
        await asyncio.sleep(PAUSES[min(repeated, len(PAUSES) - 1)])
        repeated += 1


def is_away(error: Exception) -> bool:
    """Whether the database is to blame, and not what was asked of it."""
    return is_transient(error) and sqlstate(error) != STATEMENT_CANCELLED

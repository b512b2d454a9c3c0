"""Two things at a time, of which one is waited for first."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def alongside(other: "asyncio.Future[Any]", step: Awaitable[T]) -> T:
    """Take `step` while `other` goes on; if it fails, nobody needs the other any more."""
    try:
        return await step
    except BaseException:
        other.cancel()
        other.add_done_callback(_seen)
        raise


def _seen(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()

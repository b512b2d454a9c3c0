"""Work that must not be left in the middle."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even if the caller is cancelled meanwhile; the cancellation is raised once it has ended."""
    task = asyncio.ensure_future(work)
    await ended(task)
    return task.result()


async def ended(task: "asyncio.Future[Any]") -> None:
    """Wait until it has ended, however it does; a cancellation meanwhile is raised once it has."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # marks it as seen: asyncio would complain about it if nobody asks for the result
    if cancelled is not None:
        raise cancelled

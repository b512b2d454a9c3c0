"""Looking again for what comes about by itself, where nobody tells of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

PAUSE = 0.05

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], *, within: float = 60) -> T:
    """What `look` finds once it finds anything true."""
    async with asyncio.timeout(within):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(PAUSE)

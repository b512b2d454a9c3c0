"""What several want at the same time is got once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Together(Generic[K, T]):
    """Whoever wants what is being got already waits for that; nothing is remembered after it."""

    def __init__(self) -> None:
        self._getting: dict[K, asyncio.Task[T]] = {}

    async def get(self, key: K, get: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `get` gives, or raises, to all who wait for it; of these some may be cancelled."""
        task = self._getting.get(key)
        if task is None:
            task = self._getting[key] = asyncio.create_task(get())
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)

    def _end(self, key: K, done: "asyncio.Task[T]") -> None:
        del self._getting[key]
        if not done.cancelled():
            done.exception()  # if nobody waits any more, nobody needs to hear of it

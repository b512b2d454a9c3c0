"""Remote models are opened when they are needed, in a thread: a provider's library takes a second and tens of MB."""

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from chassis.failures import Failure
from chassis.leaving_out import leaving_out

log = logging.getLogger(__name__)


class Closing(Protocol):
    """Something that keeps connections until it is closed."""

    async def close(self) -> None: ...


T = TypeVar("T", bound=Closing)


class OnFirstUse(Generic[T]):
    """Something opened once, when it is first needed; a failure to open it is raised, and tried again next time."""

    def __init__(self, open_it: Callable[[], T]) -> None:
        self._open = open_it
        self._opening = asyncio.Lock()
        self._opened: T | None = None

    async def get(self) -> T:
        if self._opened is None:
            async with self._opening:
                if self._opened is None:
                    self._opened = await asyncio.to_thread(self._load)
                    gc.freeze()  # a library stays: or every collection looks at its 150,000 objects again
        return self._opened

    async def load(self) -> None:
        """Open it before it is needed. Trouble is only logged: it is raised where somebody is there to be told."""
        try:
            await self.get()
        except Exception as error:
            log.warning("A model cannot be opened yet: %s", error, exc_info=not isinstance(error, Failure))

    async def close(self) -> None:
        """Close the connections that are kept, if there are any."""
        if self._opened is not None:
            await self._opened.close()

    def _load(self) -> T:
        with leaving_out("rich", "pygments"):  # httpx would load them for a terminal
            return self._open()

"""Keeps processes alive: whatever dies is started again, later each time it dies young."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from chassis.doubling import doubled

from docqa.embedded.children import Child

FIRST_PAUSE = timedelta(seconds=0.5)
LONGEST_PAUSE = timedelta(seconds=30)
SETTLED_AFTER = 60.0  # a process that lived so long starts again at once


class Part(Protocol):
    """Something with a process of its own."""

    name: str
    child: Child | None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


Notice = Callable[[str], None]
Then = Callable[[], Awaitable[None]]


@dataclass
class _Kept:
    part: Part
    then: Then | None
    # Held while the part is being started or stopped on purpose: its watcher then has nothing to make good.
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    deaths: int = 0


class Supervisor:
    """Watches the parts given to `keep`. `notice` is told, in a sentence, of everything a person should know."""

    def __init__(self, notice: Notice, *, first_pause: timedelta = FIRST_PAUSE) -> None:
        self._notice = notice
        self._first_pause = first_pause
        self._kept: dict[str, _Kept] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def keep(self, part: Part, *, then: Then | None = None) -> None:
        """From now on `part`, which runs, is started again when it ends; `then` is awaited after each such start."""
        kept = _Kept(part, then)
        self._kept[part.name] = kept
        self._watchers.add(asyncio.create_task(self._watch(kept), name=f"keep {part.name}"))

    async def restart(self, part: Part) -> None:
        """Stops and starts a kept part on purpose."""
        kept = self._kept[part.name]
        async with kept.changing:
            await part.stop()
            await part.start()

    async def release(self) -> None:
        """Stops watching; nothing is started again after this."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()

    async def _watch(self, kept: _Kept) -> None:
        while True:
            child, since = kept.part.child, time.monotonic()
            assert child is not None
            code = await child.ended()
            async with kept.changing:
                if kept.part.child is not child:
                    continue
                if time.monotonic() - since > SETTLED_AFTER:
                    kept.deaths = 0
                await self._revive(kept, code)
            if kept.then is not None:
                try:
                    await kept.then()
                except Exception as error:  # whatever it is: the part is watched all the same
                    self._notice(str(error) or type(error).__name__)

    async def _revive(self, kept: _Kept, code: int) -> None:
        reason = f"{kept.part.name} ended {_how(code)}"
        while True:
            pause = doubled(self._first_pause, kept.deaths, ceiling=LONGEST_PAUSE).total_seconds()
            kept.deaths += 1
            self._notice(f"{reason}; it is started again in {pause:g} s")
            await asyncio.sleep(pause)
            try:
                await kept.part.start()
            except Exception as error:  # whatever it is: it is said, and tried again
                reason = str(error)
            else:
                return


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"

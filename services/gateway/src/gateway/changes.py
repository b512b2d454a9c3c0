"""Which owners have something new: by NOTIFY at once, and every second by one look for all open streams."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID

import structlog
from chassis.database import is_transient
from chassis.transactions import Transactions
from messaging.listening import Listener

from gateway.tables import STREAM_CHANNEL

log = structlog.stdlib.get_logger(__name__)

_STATES = "SELECT id, tag, counter, closed_at IS NOT NULL AS closed FROM owners WHERE id = ANY($1)"

_MAKE = "INSERT INTO owners (id) VALUES ($1) ON CONFLICT DO NOTHING"

EVERY = 1.0
"""A notification can be missed; a closed account is out of its streams within a second."""


@dataclass(frozen=True)
class OwnerState:
    """How far an owner's counter has come."""

    tag: str
    counter: int
    closed: bool


@dataclass(eq=False)
class Watch:
    """What one stream knows of its owner; `changed` is set when there is something new.

    `ahead` says that a step was taken that `state` does not know of, and `news` which notification said so: those who
    read after the same one may read together.
    """

    state: OwnerState
    ahead: bool = True  # something may have come between the reading of `state` and this
    news: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Changes:
    """Watches owners for the streams of this process."""

    def __init__(self, *, transactions: Transactions, listener: Listener) -> None:
        self._transactions = transactions
        self._watches: defaultdict[UUID, set[Watch]] = defaultdict(set)
        self._missed = asyncio.Event()
        self._news = count(1)
        listener.on(STREAM_CHANNEL, self._heard)

    async def read(self, owner: UUID) -> OwnerState:
        """The owner as it stands now; an owner never heard of gets its row."""
        while True:
            found = await self._look([owner])
            if owner in found:
                return found[owner]
            async with self._transactions.driver() as driver:
                await driver.execute(_MAKE, owner)

    @contextmanager
    def watch(self, owner: UUID, state: OwnerState) -> Iterator[Watch]:
        """Be told of changes after `state` while the block runs."""
        watch = Watch(state)
        self._watches[owner].add(watch)
        try:
            yield watch
        finally:
            self._watches[owner].discard(watch)
            if not self._watches[owner]:
                del self._watches[owner]

    def watching(self, owner: UUID) -> int:
        """How many streams of the owner are open here."""
        return len(self._watches.get(owner, ()))

    async def run(self) -> None:
        """Look until cancelled: every second, and at once when notifications may have been missed."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._missed.wait()
            self._missed.clear()
            try:
                self._tell(await self._look(set(self._watches)))
            except Exception as error:
                log.warning("cannot look for changes", exc_info=not is_transient(error))

    async def _look(self, owners: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        if not owners:
            return {}
        async with self._transactions.driver() as driver:
            rows = await driver.fetch(_STATES, owners)
        return {row["id"]: OwnerState(row["tag"], row["counter"], row["closed"]) for row in rows}

    def _tell(self, states: Mapping[UUID, OwnerState]) -> None:
        for owner, state in states.items():
            for watch in self._watches.get(owner, ()):
                if watch.state != state:
                    watch.state = state
                    watch.changed.set()

    def _heard(self, payload: str | None) -> None:
        """A step was taken: its owner's streams read it themselves. None if steps may have been missed."""
        if payload is None:
            self._missed.set()
            return
        news = next(self._news)
        for watch in self._watches.get(UUID(payload), ()):
            watch.ahead, watch.news = True, news
            watch.changed.set()

"""Which owners have something new: one look at the database for all open streams, on NOTIFY and every second."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """What one stream knows of its owner; `changed` is set when there is something new."""

    state: OwnerState
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Changes:
    """Watches owners for the streams of this process."""

    def __init__(self, *, transactions: Transactions, listener: Listener) -> None:
        self._transactions = transactions
        self._watches: defaultdict[UUID, set[Watch]] = defaultdict(set)
        self._notified: set[UUID] = set()
        self._stirred = asyncio.Event()
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
        self._notified.add(owner)  # whatever came between the reading of `state` and this
        self._stirred.set()
        try:
            yield watch
        finally:
            self._watches[owner].discard(watch)
            if not self._watches[owner]:
                del self._watches[owner]

    async def run(self) -> None:
        """Look until cancelled; without an open stream, nothing is asked."""
        while True:
            all_of_them = await self._wait()
            owners = set(self._watches) if all_of_them else self._notified & self._watches.keys()
            self._notified.clear()
            if not owners:
                continue
            try:
                self._tell(await self._look(owners))
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("cannot look for changes", error=type(error).__name__)
                await asyncio.sleep(EVERY)

    async def _wait(self) -> bool:
        """True if a second has passed, or a notification may have been missed: then all owners are looked at."""
        try:
            async with asyncio.timeout(EVERY if self._watches else None):
                await self._stirred.wait()
        except TimeoutError:
            return True
        self._stirred.clear()
        return not self._notified

    async def _look(self, owners: Collection[UUID]) -> Mapping[UUID, OwnerState]:
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
        if payload is None:
            self._notified.clear()
            self._stirred.set()
        elif (owner := UUID(payload)) in self._watches:
            self._notified.add(owner)
            self._stirred.set()

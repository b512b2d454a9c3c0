"""Which owners have something new: one look at the database for all open streams, on NOTIFY and every second."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from chassis.database import Sessions
from messaging.listening import Listener
from sqlalchemy import ARRAY, Row, Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from gateway.tables import STREAM_CHANNEL, OwnerRow

log = structlog.stdlib.get_logger(__name__)

# Columns and not objects, in one statement of always the same words: it is asked at every step of every document.
_STATES = select(OwnerRow.id, OwnerRow.tag, OwnerRow.counter, OwnerRow.closed_at).where(
    OwnerRow.id == any_(bindparam("owners", type_=ARRAY(Uuid())))
)

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

    def __init__(self, *, sessions: Sessions, reads: Sessions, listener: Listener) -> None:
        self._sessions = sessions
        self._reads = reads
        self._watches: defaultdict[UUID, set[Watch]] = defaultdict(set)
        self._notified: set[UUID] = set()
        self._stirred = asyncio.Event()
        listener.on(STREAM_CHANNEL, self._heard)

    async def read(self, owner: UUID) -> OwnerState:
        """The owner as it stands now; an owner never heard of gets its row."""
        async with self._sessions.begin() as session:
            found = await session.get(OwnerRow, owner)
            if found is None:
                await session.execute(insert(OwnerRow).values(id=owner).on_conflict_do_nothing())
                found = await session.get_one(OwnerRow, owner)
            return _state(found)

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
            except (SQLAlchemyError, OSError, TimeoutError) as error:
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

    async def _look(self, owners: set[UUID]) -> Mapping[UUID, OwnerState]:
        async with self._reads() as session:
            rows = await session.execute(_STATES, {"owners": list(owners)})
            return {row.id: _state(row) for row in rows}

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


def _state(row: OwnerRow | Row[UUID, str, int, datetime | None]) -> OwnerState:
    return OwnerState(tag=row.tag, counter=row.counter, closed=row.closed_at is not None)

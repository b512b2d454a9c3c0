"""The stream of an owner's documents: state, in the order of the owner's counter, resumable on any gateway."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from chassis.database import is_transient
from chassis.identity import Caller, token_expired, token_invalid
from chassis.problems import ProblemError, unavailable
from chassis.streaming import event
from chassis.together import Together
from chassis.transactions import Transactions
from contracts.documents import Gone

from gateway.changes import Changes, OwnerState, Watch
from gateway.documents import show
from gateway.errors import too_many_streams
from gateway.owners import AccountClosed
from gateway.tables import DOCUMENT_COLUMNS, DocumentRow

BATCH = 100
MOST_STREAMS = 100  # of an owner, at one gateway: more than people have windows and machines
HEARTBEAT = b": \n\n"

_ID = re.compile(r"([0-9a-f]{8})-(\d{1,18})", re.ASCII)

Renew = Callable[[], Awaitable[Caller]]


@dataclass(frozen=True)
class Start:
    """Where a stream goes on: after `position`; deletions completed before `gone_after` are no news."""

    position: int
    gone_after: int


_DOCUMENT = ", ".join(f"documents.{column}" for column in DOCUMENT_COLUMNS)

# In one statement, and so in one snapshot: between two of them, a step could slip through.
_STEPS = f"""
    SELECT steps.position AS step, steps.document, steps.gone, {_DOCUMENT}
    FROM (SELECT position, id AS document, false AS gone FROM documents WHERE owner_id = $1 AND position > $2
          UNION ALL
          SELECT position, document_id, true FROM deletions
          WHERE owner_id = $1 AND position > $3 AND document_id IS NOT NULL
          ORDER BY position LIMIT $4) AS steps
    LEFT JOIN documents ON NOT steps.gone AND documents.id = steps.document
    ORDER BY steps.position
"""  # noqa: S608 - constants of ours


def start_of(last_event_id: str | None, state: OwnerState) -> Start:
    """From the beginning, unless the id is one of this owner's; one from the future is not: a backup was restored."""
    match = _ID.fullmatch(last_event_id or "")
    if match and match.group(1) == state.tag and int(match.group(2)) <= state.counter:
        position = int(match.group(2))
        return Start(position=position, gone_after=position) if position else Start(0, state.counter)
    return Start(position=0, gone_after=state.counter)


class Stream:
    """Writes the events of one owner's documents until the token expires, the account is closed or we stop."""

    def __init__(
        self, *, transactions: Transactions, changes: Changes, heartbeat: float, stopping: Callable[[], asyncio.Event]
    ) -> None:
        self._transactions = transactions
        self._changes = changes
        self._heartbeat = heartbeat
        self._stopping = stopping
        self._reading: Together[tuple[UUID, int, int, int, int], Sequence[asyncpg.Record]] = Together()

    def admit(self, owner: UUID) -> None:
        """429 for one stream too many: what is told to each of them is taken from what others wait for."""
        if self._changes.watching(owner) >= MOST_STREAMS:
            raise too_many_streams()

    async def __call__(
        self, caller: Caller, *, renew: Renew, last_event_id: str | None, request_id: str
    ) -> AsyncIterator[bytes]:
        """The body of the answer. `renew` gives a caller anew, or raises, when the token has expired."""
        yield HEARTBEAT
        try:
            async with aclosing(self._events(caller, renew, last_event_id)) as events:
                async for sent in events:
                    yield sent
        except ProblemError as problem:
            yield _error(problem, request_id)
        except Exception as error:
            if not is_transient(error):
                raise
            yield _error(unavailable(), request_id)

    async def _events(self, caller: Caller, renew: Renew, last_event_id: str | None) -> AsyncGenerator[bytes, None]:
        owner = caller.user_id
        state = await self._changes.read(owner)
        start = start_of(last_event_id, state)
        with self._changes.watch(owner, state) as watch:
            if self._changes.watching(owner) > MOST_STREAMS:  # of those admitted at the same moment
                raise too_many_streams()
            position = start.position
            while not self._stopping().is_set():
                if watch.state.closed:
                    raise token_invalid("The account was deleted.")
                if caller.expires_at <= datetime.now(UTC):
                    caller = await _renewed(renew)
                    yield HEARTBEAT  # the wait for it was cut short
                if watch.ahead or watch.state.counter > position:
                    watch.ahead = False
                    position, sent = await self._next(owner, position, start.gone_after, watch)
                    for piece in sent:
                        yield piece
                elif not await self._wait(watch, until=caller.expires_at):
                    yield HEARTBEAT

    async def _wait(self, watch: Watch, *, until: datetime) -> bool:
        """False if a heartbeat is due."""
        left = (until - datetime.now(UTC)).total_seconds()
        waits = [asyncio.ensure_future(watch.changed.wait()), asyncio.ensure_future(self._stopping().wait())]
        try:
            await asyncio.wait(waits, timeout=max(0, min(left, self._heartbeat)), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        changed = watch.changed.is_set()
        watch.changed.clear()
        return changed or left < self._heartbeat

    async def _next(self, owner: UUID, position: int, gone_after: int, watch: Watch) -> tuple[int, Sequence[bytes]]:
        """Up to a hundred events, and where they end.

        Streams that are as far read together, if they know of the same steps: nobody goes on to a counter by what was
        read before it.
        """
        state, gone_after = watch.state, max(position, gone_after)

        async def read() -> Sequence[asyncpg.Record]:
            async with self._transactions.driver() as driver:
                return await driver.fetch(_STEPS, owner, position, gone_after, BATCH)

        rows = await self._reading.get((owner, position, gone_after, watch.news, state.counter), read)
        sent = [_told(row, f"{state.tag}-{row['step']}") for row in rows]
        if len(rows) == BATCH:
            return rows[-1]["step"], sent
        return max(state.counter, *(row["step"] for row in rows), position), sent


async def _renewed(renew: Renew) -> Caller:
    try:
        caller = await renew()
    except AccountClosed as closed:
        raise token_invalid(str(closed)) from None
    if caller.expires_at <= datetime.now(UTC):  # it still verifies, within the leeway for clocks
        raise token_expired()
    return caller


def _told(row: "asyncpg.Record", event_id: str) -> bytes:
    if row["gone"]:
        return event("gone", Gone(id=row["document"]), event_id)
    document = DocumentRow(**{column: row[column] for column in DOCUMENT_COLUMNS})
    return event("document", show(document), event_id)


def _error(problem: ProblemError, request_id: str) -> bytes:
    return event("error", problem.problem(request_id))

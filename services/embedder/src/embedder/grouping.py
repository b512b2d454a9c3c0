"""Chroma has one writer, and a call costs it about as much as a hundred records: what waits is written together."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chassis.chroma import MOST_RECORDS, Records

Upsert = Callable[[str, Records], Awaitable[None]]


@dataclass(eq=False)
class _Waiting:
    records: Records
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupedUpserts:
    """Writes one call at a time; what has come for a collection meanwhile goes with its next one."""

    def __init__(self, upsert: Upsert) -> None:
        self._upsert = upsert
        self._waiting: dict[str, list[_Waiting]] = defaultdict(list)
        self._writer = asyncio.Lock()

    async def write(self, collection: str, records: Records) -> None:
        """Returns when these records are written; at most `MOST_RECORDS`. Raises what the call raised."""
        mine = _Waiting(records)
        self._waiting[collection].append(mine)
        try:
            while not mine.done.done():
                async with self._writer:
                    if not mine.done.done():
                        await self._write_next(collection)
            mine.done.result()
        finally:
            mine.done.cancel()
            self._forget(collection)

    async def _write_next(self, collection: str) -> None:
        """Write what has waited longest, as much as fits in one call."""
        group = _fitting(self._waiting[collection])
        del self._waiting[collection][: len(group)]
        try:
            await self._upsert(collection, _joined([each.records for each in group]))
        except asyncio.CancelledError:
            self._waiting[collection][:0] = group  # somebody else of the group writes it
            raise
        except Exception as error:  # each of the group hears of it
            _tell(group, error)
        else:
            _tell(group, None)

    def _forget(self, collection: str) -> None:
        """Whoever was cancelled is not written, and an empty queue is not kept."""
        self._waiting[collection] = [each for each in self._waiting[collection] if not each.done.done()]
        if not self._waiting[collection]:
            del self._waiting[collection]


def _fitting(waiting: Sequence[_Waiting]) -> list[_Waiting]:
    group: list[_Waiting] = []
    size = 0
    for each in waiting:
        size += len(each.records.ids)
        if group and size > MOST_RECORDS:
            break
        group.append(each)
    return group


def _joined(parts: Sequence[Records]) -> Records:
    return Records(
        ids=[one for part in parts for one in part.ids],
        vectors=[one for part in parts for one in part.vectors],
        metadata=[one for part in parts for one in part.metadata],
    )


def _tell(group: Sequence[_Waiting], error: Exception | None) -> None:
    for each in group:
        if each.done.done():
            continue
        if error is None:
            each.done.set_result(None)
        else:
            each.done.set_exception(error)

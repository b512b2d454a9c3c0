"""Chroma has one writer, and a call costs it about as much as a hundred records: what waits is written together."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.chroma import MOST_RECORDS, Records
from chassis.finishing import ended

Upsert = Callable[[str, Records], Coroutine[Any, Any, None]]


@dataclass(eq=False)
class _Waiting:
    """Records, and the call that they go with, once there is one."""

    records: Records
    call: "asyncio.Task[None] | None" = None


class GroupedUpserts:
    """Writes one call at a time; what has come for a collection meanwhile goes with its next one."""

    def __init__(self, upsert: Upsert) -> None:
        self._upsert = upsert
        self._waiting: dict[str, list[_Waiting]] = defaultdict(list)
        self._writer = asyncio.Lock()

    async def write(self, collection: str, records: Records) -> None:
        """Returns when these records are written; at most `MOST_RECORDS`. Raises what the call raised.

        Whoever is cancelled while they are on their way is so when they have arrived: only then can they be erased.
        """
        mine = _Waiting(records)
        self._waiting[collection].append(mine)
        try:
            while mine.call is None:
                async with self._writer:
                    if mine.call is None:
                        await ended(self._call_next(collection))
        finally:
            self._forget(collection, mine)
            if mine.call is not None:
                await ended(mine.call)
        mine.call.result()

    def _call_next(self, collection: str) -> "asyncio.Task[None]":
        """Begin to write what has waited longest, as much as fits in one call."""
        group = _fitting(self._waiting[collection])
        del self._waiting[collection][: len(group)]
        call = asyncio.create_task(self._upsert(collection, _joined([each.records for each in group])))
        for each in group:
            each.call = call
        return call

    def _forget(self, collection: str, mine: _Waiting) -> None:
        """Whoever was cancelled is not written, and an empty queue is not kept."""
        self._waiting[collection] = [each for each in self._waiting[collection] if each is not mine]
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

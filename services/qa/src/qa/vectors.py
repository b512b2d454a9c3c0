"""The vector half of the search: nearest neighbours in Chroma, one shard collection an owner."""

import asyncio
import time
from collections.abc import Iterable
from uuid import UUID

import numpy as np
from chassis import chroma
from chassis.chroma import Chroma, OutOfTime, Where
from chassis.failures import Failure
from contracts.index import DOCUMENT, OWNER, collection_name, shard_of
from numpy.typing import NDArray

from qa.active_index import ActiveIndex
from qa.evidence import VectorHit
from qa.passages import PassageId, Scope

# Questions that are at Chroma at the same time; it works on one core, so more would only wait there instead of here.
AT_ONCE = 8

# After one question has waited in vain nobody else has to, for so long: with two hundred in line, the last one would
# wait a minute.
SPARED_SECONDS = 1.0


class IndexUnavailable(Exception):
    """The index did not answer, or is not (wholly) there: nothing can be said about what it holds."""

    def __init__(self, reason: str, *, retry_after: float = 5.0) -> None:
        super().__init__(reason)
        self.detail = "The search index does not answer at the moment. Try again shortly."
        self.reason = reason
        self.retry_after = retry_after


class CollectionMissing(IndexUnavailable):
    """A shard that ought to be there is not: it is being rebuilt, or another index has become active."""


class ShardedVectors:
    """Nearest neighbours, by owner."""

    def __init__(self, url: str, *, timeout: float, at_once: int = AT_ONCE) -> None:
        """`timeout` in seconds, for one question, whatever it has to wait for."""
        self._chroma = Chroma(url, timeout=timeout)
        self._timeout = timeout
        self._places = asyncio.Semaphore(at_once)
        self._spared_until = 0.0

    async def nearest(
        self, index: ActiveIndex, scope: Scope, vector: NDArray[np.float32], limit: int
    ) -> list[VectorHit]:
        """What the index holds nearest to the vector within the scope; an index may lie, so the caller checks.

        Raises `IndexUnavailable`, a missing collection included: that is never "nothing found".
        """
        name = collection_name(index.index_id, shard_of(scope.owner, index.shards))
        async with self._places:  # waiting for one's turn is not Chroma's time
            if time.monotonic() < self._spared_until:
                raise IndexUnavailable("Chroma did not answer those who asked just now")
            found = await self._found(name, vector.tolist(), _where(scope), limit)
        return [hit for chunk, distance in found if (hit := _hit(chunk, distance)) is not None]

    async def check(self) -> str | None:
        """For readiness: Chroma answers."""
        return await self._chroma.check()

    async def close(self) -> None:
        await self._chroma.close()

    async def _found(self, name: str, vector: list[float], where: Where, limit: int) -> list[tuple[str, float]]:
        try:
            async with asyncio.timeout(self._timeout):  # it may take more than one call
                return await self._chroma.nearest(name, vector, where, limit)
        except (TimeoutError, OutOfTime) as error:
            self._spared_until = time.monotonic() + SPARED_SECONDS
            raise IndexUnavailable(f"Chroma did not answer within {self._timeout:g} s") from error
        except chroma.CollectionMissing as missing:
            raise CollectionMissing(missing.detail) from missing
        except Failure as failure:
            raise IndexUnavailable(failure.detail) from failure


def _where(scope: Scope) -> Where:
    """From typed values only: ids that were parsed as ids, and operators that are written here."""
    conditions: list[Where] = [{OWNER: {"$eq": str(scope.owner)}}]
    if scope.documents is not None:
        conditions.append({DOCUMENT: {"$in": _texts(scope.documents)}})
    if scope.excluded:
        conditions.append({DOCUMENT: {"$nin": _texts(scope.excluded)}})
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _texts(ids: Iterable[UUID]) -> list[str]:
    return sorted(str(one) for one in ids)


def _hit(chunk: str, distance: float) -> VectorHit | None:
    passage = PassageId.parse(chunk)
    return None if passage is None else VectorHit(passage, 1 - distance)

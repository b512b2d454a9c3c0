"""The vector half of the search: Chroma through langchain-chroma, one shard collection an owner.

Chroma's client knows no time limit, so there are two: one on its connection, so that no thread is lost for ever, and
one around the whole call, so that nobody waits longer than was promised.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np
from chromadb.api.client import Client
from chromadb.config import Settings as ChromaClientSettings
from chromadb.errors import NotFoundError
from contracts.index import DOCUMENT, OWNER, collection_name, shard_of
from langchain_chroma import Chroma
from langchain_core.documents import Document
from numpy.typing import NDArray

from qa.active_index import ActiveIndex
from qa.evidence import VectorHit
from qa.passages import PassageId, Scope

T = TypeVar("T")

# Questions that are at Chroma at the same time; it works on one core, so more would only wait there instead of here.
THREADS = 8

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

    def __init__(self, url: str, *, timeout: float, threads: int = THREADS) -> None:
        """`timeout` in seconds, for one question, whatever it has to wait for."""
        self._url = url
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="chroma")
        self._places = asyncio.Semaphore(threads)
        self._spared_until = 0.0
        self._client: Client | None = None
        self._shards: dict[str, _Shard] = {}

    async def nearest(
        self, index: ActiveIndex, scope: Scope, vector: NDArray[np.float32], limit: int
    ) -> list[VectorHit]:
        """What the index holds nearest to the vector within the scope; an index may lie, so the caller checks.

        Raises `IndexUnavailable`, a missing collection included: that is never "nothing found".
        """
        name = collection_name(index.index_id, shard_of(scope.owner, index.shards))
        return await self._within_limit(lambda: self._query(name, vector.tolist(), _where(scope), limit))

    async def check(self) -> str | None:
        """For readiness: Chroma answers."""
        try:
            await self._within_limit(lambda: self._connected().heartbeat())
        except IndexUnavailable as error:
            return error.reason
        return None

    def close(self) -> None:
        """Give up the threads; one that still waits for Chroma ends with its connection's time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _within_limit(self, call: Callable[[], T]) -> T:
        async with self._places:  # waiting for one's turn is not Chroma's time
            if time.monotonic() < self._spared_until:
                raise IndexUnavailable("Chroma did not answer those who asked just now")
            try:
                async with asyncio.timeout(self._timeout):
                    return await asyncio.get_running_loop().run_in_executor(self._threads, call)
            except IndexUnavailable:
                raise
            except TimeoutError:
                self._spared_until = time.monotonic() + SPARED_SECONDS
                raise IndexUnavailable(f"Chroma did not answer within {self._timeout:g} s") from None
            except Exception as error:
                # Its client raises bare `Exception` for most of what a server can answer.
                raise IndexUnavailable(f"Chroma: {type(error).__name__}") from error

    def _query(self, name: str, vector: list[float], where: dict[str, Any], limit: int) -> list[VectorHit]:
        try:
            found = _search(self._shard(name), vector, where, limit)
        except NotFoundError:
            # A collection that was made anew has another id than the one we hold.
            self._shards.pop(name, None)
            found = self._query_again(name, vector, where, limit)
        return [hit for document, distance in found if (hit := _hit(document, distance)) is not None]

    def _query_again(
        self, name: str, vector: list[float], where: dict[str, Any], limit: int
    ) -> list[tuple[Document, float]]:
        try:
            return _search(self._shard(name), vector, where, limit)
        except NotFoundError:
            self._shards.pop(name, None)
            raise CollectionMissing(f"Chroma has no collection {name}") from None

    def _shard(self, name: str) -> "_Shard":
        shard = self._shards.get(name)
        if shard is None:
            shard = _Shard(name, client=self._connected(), create_collection_if_not_exists=False)
            self._shards[name] = shard
        return shard

    def _connected(self) -> Client:
        if self._client is None:
            self._client = _connect(self._url, self._timeout)
        return self._client


class _Shard(Chroma):
    """One whose documents have an id and nothing else: reading the rest takes Chroma a third of a query's time."""

    def similarity_search_by_vector_with_relevance_scores(
        self,
        embedding: list[float],
        k: int = 4,
        filter: dict[str, Any] | None = None,  # noqa: A002 - its name in LangChain
        where_document: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        found = self._collection.query(
            query_embeddings=[embedding],  # type: ignore[arg-type]  # a list of lists is fine
            n_results=k,
            where=filter,
            where_document=where_document,  # type: ignore[arg-type]
            include=["distances"],
            **kwargs,
        )
        [ids], [distances] = found["ids"], found["distances"] or [[]]
        return [(Document("", id=one), distance) for one, distance in zip(ids, distances, strict=True)]


class _BoundedClient(Client):
    """A client whose every request, the first ones in its constructor included, has a time limit."""

    limit: float = 2.0

    def get_user_identity(self) -> Any:
        # The constructor's first request: from here on none is without a limit.
        session: httpx.Client = self._server._session  # type: ignore[attr-defined]
        session.timeout = httpx.Timeout(self.limit)
        return super().get_user_identity()


def _connect(url: str, limit: float) -> Client:
    address = urlsplit(url)
    settings = ChromaClientSettings(
        chroma_api_impl="chromadb.api.fastapi.FastAPI",
        chroma_server_host=address.hostname,
        chroma_server_http_port=address.port or (443 if address.scheme == "https" else 80),
        chroma_server_ssl_enabled=address.scheme == "https",
        anonymized_telemetry=False,
    )
    bounded = type("BoundedClient", (_BoundedClient,), {"limit": limit})
    client: Client = bounded(settings=settings)
    return client


def _search(shard: _Shard, vector: list[float], where: dict[str, Any], limit: int) -> list[tuple[Document, float]]:
    return shard.similarity_search_by_vector_with_relevance_scores(vector, k=limit, filter=where)


def _where(scope: Scope) -> dict[str, Any]:
    """From typed values only: ids that were parsed as ids, and operators that are written here."""
    conditions: list[dict[str, Any]] = [{OWNER: {"$eq": str(scope.owner)}}]
    if scope.documents is not None:
        conditions.append({DOCUMENT: {"$in": _texts(scope.documents)}})
    if scope.excluded:
        conditions.append({DOCUMENT: {"$nin": _texts(scope.excluded)}})
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _texts(ids: Sequence[Any] | frozenset[Any]) -> list[str]:
    return sorted(str(item) for item in ids)


def _hit(document: Document, distance: float) -> VectorHit | None:
    """Only the id counts; the metadata are for Chroma's own filter."""
    passage = PassageId.parse(document.id or "")
    return None if passage is None else VectorHit(passage, 1 - distance)

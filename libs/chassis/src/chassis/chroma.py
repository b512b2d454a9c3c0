"""Chroma over its REST interface: asynchronous, bounded in time, its trouble given a kind.

Not its Python client: that one has no time limit and no way to stop a call, needs a thread for each, and costs every
process 50 MB. See docs/decisions/0041 and 0099.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from chassis.failures import Failure, Misconfigured, Transient
from chassis.http import NO_ANSWER, HttpClient

UNAVAILABLE = "index.unavailable"
MISSING = "index.missing"
MISCONFIGURED = "index.misconfigured"

MOST_RECORDS = 1000
"""In one call, written, read or deleted; the server refuses more than 5,461."""

SYNC_THRESHOLD = 100
"""Records after which Chroma writes its graph to disk; its default is 1,000. What is not written yet is expensive to
delete from: 380 of 380 vectors took 3.2 s, with this 0.1 s. Adding 64 at a time costs 14 % more of its time."""

Scalar: TypeAlias = str | int
Where: TypeAlias = Mapping[str, Scalar | Mapping[str, Scalar | Sequence[Scalar]] | Sequence["Where"]]
"""A filter; from typed values only, for Chroma obeys an operator that stands where a value should."""

_JSON = {"content-type": "application/json"}
_COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class OutOfTime(Transient):
    """Chroma did not answer in time."""

    def __init__(self, limit: float) -> None:
        super().__init__(UNAVAILABLE, f"The index did not answer within {limit:g} s.")


class CollectionMissing(Transient):
    """There is no such collection: it is being made, or Chroma has lost it. It never means "nothing found"."""

    def __init__(self, name: str) -> None:
        super().__init__(MISSING, f"The index lacks its collection {name}.")
        self.name = name


class _Hnsw(BaseModel):
    space: str


class _Configuration(BaseModel):
    hnsw: _Hnsw | None = None


class Collection(BaseModel):
    """What Chroma says of a collection; its dimension is that of its first vector, None before that."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    name: str
    dimension: int | None = None
    metadata: Mapping[str, str | int | float | bool | None] | None = None
    configuration: _Configuration = Field(default_factory=_Configuration, alias="configuration_json")

    @property
    def space(self) -> str | None:
        return self.configuration.hnsw.space if self.configuration.hnsw else None


class _Ids(BaseModel):
    ids: list[str]


class _Nearest(BaseModel):
    """One list for each vector that was asked about."""

    ids: list[list[str]]
    distances: list[list[float]]


_ONE, _MANY = TypeAdapter(Collection), TypeAdapter(list[Collection])
_IDS, _NEAREST = TypeAdapter(_Ids), TypeAdapter(_Nearest)

T = TypeVar("T")


@dataclass(frozen=True)
class Records:
    """Columns of the same length; `vectors` in base64 of little-endian 32-bit floats, as the server unpacks them."""

    ids: Sequence[str]
    vectors: Sequence[str]
    metadata: Sequence[Mapping[str, Scalar]]


class Chroma:
    """Methods raise `Transient` or `Misconfigured`, and `CollectionMissing` for a collection that is not there."""

    def __init__(self, url: str, *, timeout: float) -> None:
        """`timeout` in seconds, for one call, from its first byte to its last."""
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._ids: dict[str, str] = {}
        self._http = HttpClient(url, silence=timeout)

    async def close(self) -> None:
        await self._http.close()

    async def check(self) -> str | None:
        """For readiness: Chroma answers."""
        try:
            await self._call("GET", "/api/v2/heartbeat")
        except Failure as failure:
            return failure.detail
        return None

    async def collections(self) -> dict[str, Collection]:
        """Every collection by its name, whoever made it."""
        found: dict[str, Collection] = {}
        while True:
            page = f"{_COLLECTIONS}?limit={MOST_RECORDS}&offset={len(found)}"
            some = _read(_MANY, await self._call("GET", page))
            found.update({one.name: one for one in some})
            if len(some) < MOST_RECORDS:
                return found

    async def create(self, name: str, metadata: Mapping[str, Scalar]) -> None:
        """Make a collection for cosine; one that is there already stays as it is, whatever it is for."""
        body = {
            "name": name,
            "get_or_create": True,
            "metadata": metadata,
            "configuration": {"hnsw": {"space": "cosine", "sync_threshold": SYNC_THRESHOLD}},
        }
        self._ids.pop(name, None)
        await self._call("POST", _COLLECTIONS, body)

    async def drop(self, name: str) -> None:
        """Drop a collection; none is fine, too."""
        self._ids.pop(name, None)
        try:
            await self._call("DELETE", f"{_COLLECTIONS}/{name}", collection=name)
        except CollectionMissing:
            return

    async def upsert(self, name: str, records: Records) -> None:
        """Write up to `MOST_RECORDS` records; those that are there are overwritten. What failed may yet be stored."""
        body = {"ids": records.ids, "embeddings": records.vectors, "metadatas": records.metadata}
        await self._on(name, "upsert", body)

    async def ids(self, name: str, where: Where) -> list[str]:
        """The ids of up to `MOST_RECORDS` records that match; exact, unlike a query."""
        body = {"where": where, "include": [], "limit": MOST_RECORDS}
        return _read(_IDS, await self._on(name, "get", body)).ids

    async def nearest(self, name: str, vector: Sequence[float], where: Where, limit: int) -> list[tuple[str, float]]:
        """The ids of up to `limit` records that match, and their distances, nearest first; approximate."""
        body = {"query_embeddings": [vector], "n_results": limit, "where": where, "include": ["distances"]}
        found = _read(_NEAREST, await self._on(name, "query", body))
        return list(zip(found.ids[0], found.distances[0], strict=True))

    async def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete up to `MOST_RECORDS` records; those that are not there do not matter."""
        await self._on(name, "delete", {"ids": ids})

    async def _on(self, name: str, verb: str, body: object) -> bytes:
        """A call about a collection. Its id is remembered; one that was made again has another."""
        remembered = name in self._ids
        try:
            return await self._call("POST", f"{_COLLECTIONS}/{await self._id(name)}/{verb}", body, collection=name)
        except CollectionMissing:
            self._ids.pop(name, None)
            if not remembered:
                raise
        return await self._call("POST", f"{_COLLECTIONS}/{await self._id(name)}/{verb}", body, collection=name)

    async def _id(self, name: str) -> str:
        if name not in self._ids:
            answer = await self._call("GET", f"{_COLLECTIONS}/{name}", collection=name)
            self._ids[name] = _read(_ONE, answer).id
        return self._ids[name]

    async def _call(self, method: str, path: str, body: object = None, *, collection: str | None = None) -> bytes:
        sent = None if body is None else to_json(body)
        try:
            status, answer = await self._http.read(
                method, self._url + path, headers=_JSON, body=sent, within=self._timeout
            )
        except TimeoutError as error:
            raise OutOfTime(self._timeout) from error
        except NO_ANSWER as error:
            raise Transient(UNAVAILABLE, "The index cannot be reached.") from error
        if status < 300:
            return answer
        raise _failure(status, collection)


def _read(shape: TypeAdapter[T], answer: bytes) -> T:
    try:
        return shape.validate_json(answer)
    except ValidationError as error:
        raise Transient(UNAVAILABLE, "The index gave an answer that is none.") from error


def _failure(status: int, collection: str | None) -> Failure:
    if status == 404 and collection is not None:
        return CollectionMissing(collection)
    if status in (408, 409, 425, 429) or status >= 500:
        return Transient(UNAVAILABLE, f"The index is busy or down (HTTP {status}).")
    return Misconfigured(MISCONFIGURED, f"The index refuses what we write (HTTP {status}): is it ours?")

"""What an owner has outside of the databases: the objects and the vectors, by the engines' own interfaces."""

from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Self
from uuid import UUID

import httpx
import numpy as np
from chassis.objects import ObjectStore, open_store
from chassis.settings import ObjectStoreSettings
from contracts.index import DOCUMENT, collection_name, shard_of
from contracts.objects import document_prefix
from numpy.typing import NDArray

from tests.e2e.person import Json
from tests.integration.cluster import Cluster

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"

Vectors = dict[str, NDArray[np.float32]]
"""By the chunk's id; of length 1."""


class Vault:
    """Read it, or do harm to it."""

    def __init__(self, owner: UUID, store: ObjectStore, collection: str) -> None:
        """`collection` is the URL of the one that the owner's vectors are in."""
        self.owner = owner
        self._store = store
        self._collection = collection

    @classmethod
    async def of(cls, cluster: Cluster, owner: UUID) -> Self:
        (index,) = await cluster.rows("embedder", "SELECT index_id, shards FROM vector_indexes WHERE state = 'active'")
        name = collection_name(index["index_id"], shard_of(owner, index["shards"]))
        base = f"{cluster.stack.addresses.chroma_url}{COLLECTIONS}"
        async with httpx.AsyncClient(timeout=30) as http:
            collection = (await http.get(f"{base}/{name}")).json()["id"]
        store = open_store(ObjectStoreSettings.model_validate(_told(cluster)))
        return cls(owner, store, f"{base}/{collection}")

    async def objects(self, document: UUID) -> dict[str, str]:
        """The hash of each object of a document."""
        keys = [found.key async for found in self._store.list(document_prefix(self.owner, document))]
        return {key: sha256(b"".join([piece async for piece in self._store.open(key)])).hexdigest() for key in keys}

    async def put(self, key: str, content: bytes) -> None:
        await self._store.put(key, _whole(content))

    async def vectors(self, documents: list[UUID]) -> Vectors:
        """Those of all of the documents."""
        found: Vectors = {}
        for document in documents:
            answer = await self.index("get", {"where": self.about(document), "include": ["embeddings"]})
            for id_, vector in zip(answer["ids"], answer["embeddings"], strict=True):
                found[id_] = unit(np.asarray(vector, np.float32))
        return found

    async def index(self, verb: str, body: Json) -> Json:
        """What Chroma itself says to it."""
        async with httpx.AsyncClient(timeout=30) as http:
            answer = await http.post(f"{self._collection}/{verb}", json=body)
        assert answer.is_success, answer.text
        said: Json = answer.json()
        return said

    @staticmethod
    def about(document: UUID) -> Json:
        return {DOCUMENT: {"$eq": str(document)}}


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    of_length_1: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return of_length_1


def _told(cluster: Cluster) -> Mapping[str, str]:
    told = {"object_store": cluster.stack.addresses.object_store}
    names = ObjectStoreSettings.model_fields
    return told | {name: value for name in names if (value := cluster.user.get(f"DOCQA_{name.upper()}"))}


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content

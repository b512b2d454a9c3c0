"""The five services on real engines, some of them several times."""

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import httpx
from contracts.index import DOCUMENT, collection_name, shard_of
from docqa import environment, ports
from docqa.environment import SERVICES, variable
from docqa.service import READY_WITHIN, Service
from docqa.stack import Stack
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

REPLICAS = {"embedder": 4, "gateway": 2, "auth": 2, "ingest": 2, "qa": 2}

Row = Mapping[str, object]


class Cluster:
    """A stack, and replicas beside it that nothing starts again."""

    def __init__(self, stack: Stack, user: Mapping[str, str], logs: Path) -> None:
        self.stack = stack
        self._user = user
        self._logs = logs
        self.replicas: list[Service] = []

    @property
    def gateways(self) -> list[str]:
        """The public addresses, that of the stack first."""
        return [self.stack.url, *(replica.url for replica in self.replicas if replica.name == "gateway")]

    async def scale(self, wanted: Mapping[str, int]) -> None:
        """So many of each service, the stack's own counted."""
        have = Counter([*SERVICES, *(replica.name for replica in self.replicas)])
        await self.add(*(name for name, count in wanted.items() for _ in range(count - have[name])))

    async def shrink(self) -> None:
        """One of each is left."""
        await asyncio.gather(*(self.remove(replica) for replica in list(self.replicas)))

    async def add(self, *names: str) -> list[Service]:
        """One more of each; all of them are ready."""
        added = [self._replica(name, port) for name, port in zip(names, ports.free(len(names)), strict=True)]
        self.replicas += added
        for replica in added:
            await replica.start()
        await asyncio.gather(*(replica.becomes_ready(READY_WITHIN) for replica in added))
        return added

    async def remove(self, replica: Service, *, kill: bool = False) -> None:
        """In order, or as a crash would."""
        self.replicas.remove(replica)
        assert replica.child is not None
        if kill:
            replica.child.kill()
        else:
            assert await replica.child.stop(signal.SIGTERM, patience=30) == 0

    async def close(self) -> None:
        await asyncio.gather(*(replica.stop() for replica in self.replicas))

    @property
    def processes(self) -> dict[str, int]:
        """Every service's process id: the same again means that none had to be started anew."""
        running = [*self.stack.services.values(), *self.replicas]
        return {f"{service.name} at {service.url}": service.child.pid for service in running if service.child}

    async def rows(self, service: str, statement: str, **values: object) -> list[Row]:
        """What a service's own database says."""
        engine = create_async_engine(self.stack.addresses.databases[service], poolclass=NullPool)
        try:
            async with engine.connect() as connection:
                return [dict(row) for row in (await connection.execute(text(statement), values)).mappings()]
        finally:
            await engine.dispose()

    def _replica(self, name: str, port: int) -> Service:
        told = environment.of_service(name, self._user, self.stack.addresses)
        told[variable(name, "port")] = str(port)
        return Service(name, f"http://127.0.0.1:{port}", lambda: told, log=self._logs / f"{name}-{port}.log")


async def mistakes(cluster: Cluster, owner: UUID, documents: list[str]) -> list[str]:
    """What every store says of documents that are ready, held against each other; nothing is as it should be."""
    found: list[str] = []
    for document in documents:
        found += [f"{document}: {mistake}" for mistake in await _of_document(cluster, owner, UUID(document))]
    for service in SERVICES:
        found += [f"{service}: {mistake}" for mistake in await _of_service(cluster, service)]
    return found


async def _of_document(cluster: Cluster, owner: UUID, document: UUID) -> list[str]:
    (row,) = await cluster.rows("gateway", "SELECT * FROM documents WHERE id = :id", id=document)
    chunks = row["chunk_count"]
    ends = await cluster.rows(
        "gateway",
        "SELECT fact FROM document_events WHERE document_id = :id AND (fact LIKE '%ready%' OR fact LIKE '%failed%')",
        id=document,
    )
    counted = {
        "gateway": row["embedded_count"],
        "ingest": await _count(cluster, "ingest", "document_chunks", document),
        "embedder": await _count(cluster, "embedder", "document_embeddings", document),
        "qa": await _count(cluster, "qa", "passages", document),
        "Chroma": len(await _vectors(cluster, owner, document)),
    }
    return [
        *([] if row["status"] == "ready" else [f"is {row['status']}"]),
        *([] if len(ends) == 1 else [f"came to its end {len(ends)} times"]),
        *(f"{store} has {number} of {chunks} chunks" for store, number in counted.items() if number != chunks),
    ]


async def _of_service(cluster: Cluster, service: str) -> list[str]:
    (row,) = await cluster.rows(
        service,
        "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL) AS unsent,"
        " (SELECT count(*) FROM dead_letters) AS dead,"
        " (SELECT count(*) FROM jobs WHERE state NOT IN ('done', 'cancelled')) AS unfinished",
    )
    return [f"{number} {what}" for what, number in row.items() if number]


async def _count(cluster: Cluster, service: str, table: str, document: UUID) -> object:
    (row,) = await cluster.rows(service, f"SELECT count(*) FROM {table} WHERE document_id = :id", id=document)
    return row["count"]


async def _vectors(cluster: Cluster, owner: UUID, document: UUID) -> set[str]:
    """The ids that Chroma itself gives for a document."""
    (index,) = await cluster.rows("embedder", "SELECT index_id, shards FROM vector_indexes WHERE state = 'active'")
    name = collection_name(str(index["index_id"]), shard_of(owner, int(str(index["shards"]))))
    base = f"{cluster.stack.addresses.chroma_url}/api/v2/tenants/default_tenant/databases/default_database/collections"
    async with httpx.AsyncClient(timeout=30) as http:
        collection = (await http.get(f"{base}/{name}")).json()["id"]
        asked = {"where": {DOCUMENT: {"$eq": str(document)}}, "include": []}
        return set((await http.post(f"{base}/{collection}/get", json=asked)).json()["ids"])

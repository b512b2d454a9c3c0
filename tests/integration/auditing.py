"""Every store read directly, and held against the others: what people are shown is only one of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

import numpy as np
from contracts.index import chunk_id
from contracts.objects import about_key, chunks_key, raw_key
from docqa.environment import SERVICES

from tests.e2e.waiting import eventually
from tests.integration.cluster import Cluster, Row
from tests.integration.topic import mistakes_in_topic
from tests.integration.vault import Vault, Vectors, unit

QUIET_WITHIN = 90.0
"""Seconds until nothing is under way any more: a job whose worker died waits for the end of its lease."""


@dataclass
class Stored:
    """What the stores hold of one document; each is asked on its own."""

    row: Row
    chunks: dict[int, str] = field(default_factory=dict)
    passages: dict[int, str] = field(default_factory=dict)
    embeddings: Vectors = field(default_factory=dict)
    index: Vectors = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    objects: dict[str, str] = field(default_factory=dict)
    attempt: int = 0
    chunks_sha256: str = ""


async def mistakes(cluster: Cluster, owner: UUID, documents: Iterable[str], *, log_is_whole: bool = True) -> list[str]:
    """What is not as it should be of an owner's documents that are ready; waits until nothing is under way.

    With `log_is_whole` the topic must hold all that was said of them, in its order.
    """
    ids = [UUID(document) for document in documents]
    await quiet(cluster, ids)
    stored = await _stored(cluster, owner, ids)
    found = [f"{place}: {mistake}" for place in ids for mistake in _of_document(owner, place, stored.get(place))]
    for service in SERVICES:
        found += [f"{service}: {row}" for row in await cluster.rows(service, "SELECT reason, detail FROM dead_letters")]
    if log_is_whole:
        found += await mistakes_in_topic(cluster, ids)
    return found


async def quiet(cluster: Cluster, documents: list[UUID]) -> None:
    """Waits until nothing is under way about them, and nothing will be within a minute."""
    left: dict[str, Row] = {}

    async def nothing_is_under_way() -> bool:
        left.clear()
        for service in SERVICES:
            (row,) = await cluster.rows(
                service,
                "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL AND subject = ANY(:ids)) AS unsent,"
                " (SELECT count(*) FROM jobs WHERE state IN ('waiting', 'running') AND subject = ANY(:ids)"
                "  AND available_at < now() + interval '1 minute') AS jobs",
                ids=list(map(str, documents)),
            )
            if any(row.values()):
                left[service] = row
        return not left

    try:
        await eventually(nothing_is_under_way, within=QUIET_WITHIN)
    except TimeoutError:
        raise AssertionError(f"after {QUIET_WITHIN:.0f} s there is still {left}") from None


async def _stored(cluster: Cluster, owner: UUID, documents: list[UUID]) -> dict[UUID, Stored]:
    stored = {
        row["id"]: Stored(row) for row in await cluster.rows("gateway", _IN.format("documents", "id"), ids=documents)
    }
    for row in await cluster.rows("gateway", _IN.format("document_events", "document_id"), ids=documents):
        stored[row["document_id"]].facts.append(row["fact"])
    for row in await cluster.rows("ingest", _IN.format("split_versions", "document_id"), ids=documents):
        one = stored[row["document_id"]]
        one.attempt, one.chunks_sha256 = row["attempt"], row["chunks_sha256"]
    for row in await cluster.rows("ingest", _IN.format("document_chunks", "document_id"), ids=documents):
        stored[row["document_id"]].chunks[row["ordinal"]] = row["sha256"].hex()
    for row in await cluster.rows("qa", _IN.format("passages", "document_id"), ids=documents):
        stored[row["document_id"]].passages[row["ordinal"]] = sha256(row["text"].encode()).hexdigest()
    for row in await cluster.rows("embedder", _IN.format("document_embeddings", "document_id"), ids=documents):
        stored[row["document_id"]].embeddings[row["embedding_id"]] = unit(np.frombuffer(row["vector"], "<f4"))
    vault = await Vault.of(cluster, owner)
    for id_, vector in (await vault.vectors(documents)).items():
        stored[UUID(id_.partition(":")[0])].index[id_] = vector
    for document, one in stored.items():
        one.objects = await vault.objects(document)
    return stored


_IN = "SELECT * FROM {} WHERE {} = ANY(:ids)"


def _of_document(owner: UUID, document: UUID, stored: Stored | None) -> list[str]:
    if stored is None:
        return ["is not there"]
    row, version = stored.row, stored.row["version"]
    ordinals = range(row["chunk_count"] or 0)
    ids = {chunk_id(document, version, ordinal) for ordinal in ordinals}
    ends = Counter(fact for fact in stored.facts if "ready" in fact or "failed" in fact)
    expected = {
        raw_key(owner, document): row["sha256"],
        about_key(owner, document): stored.objects.get(about_key(owner, document)),
        chunks_key(owner, document, version, stored.attempt): stored.chunks_sha256,
    }
    judged = {
        f"is {row['status']}, {row['embedded_count']} of {row['chunk_count']}": (
            row["status"] == "ready" and row["live_version"] == version and row["embedded_count"] == row["chunk_count"]
        ),
        f"came to its end {dict(ends)}": list(ends.values()) == [version],
        f"has {len(stored.chunks)} chunks of {len(ordinals)} in ingest": set(stored.chunks) == set(ordinals),
        "has other passages than chunks": stored.passages == stored.chunks,
        f"has {len(stored.embeddings)} embeddings of {len(ids)}": set(stored.embeddings) == ids,
        f"has {len(stored.index)} vectors in the index, {len(ids)} chunks": set(stored.index) == ids,
        "has other vectors in the index than were made": _same(stored.index, stored.embeddings),
        f"has the objects {sorted(stored.objects)}": stored.objects == expected,
    }
    return [mistake for mistake, holds in judged.items() if not holds]


def _same(one: Vectors, other: Vectors) -> bool:
    return all(np.allclose(vector, other[id_], atol=1e-5) for id_, vector in one.items() if id_ in other)

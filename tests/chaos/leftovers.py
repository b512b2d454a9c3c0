"""What is left of documents that were deleted: every store is asked itself, whatever the receipt says."""

from collections.abc import Iterator, Mapping
from uuid import UUID

from tests.integration.auditing import quiet
from tests.integration.cluster import Cluster
from tests.integration.vault import Vault

HELD: Mapping[str, Mapping[str, str]] = {
    "gateway": {"documents": "id", "document_events": "document_id"},
    "ingest": {"split_versions": "document_id", "document_chunks": "document_id"},
    "embedder": {"embedding_runs": "document_id", "document_embeddings": "document_id"},
    "qa": {"searchable_documents": "document_id", "passages": "document_id"},
}
"""The column of each table that names the document."""

RECEIPTS = """
    SELECT id, document_id, completed_at IS NOT NULL AS complete, count(*) FILTER (WHERE remaining = 0) AS stores
    FROM deletions LEFT JOIN deletion_receipts ON deletion_id = id
    WHERE document_id = ANY(:ids) GROUP BY id
"""
QUOTED = """
    SELECT id, unnest(source_documents) AS document_id FROM chat_messages
    WHERE source_documents && :ids AND (content <> '' OR sources <> '[]' OR NOT redacted)
"""
STORES = 4
NEVER = "00000000-0000-7000-8000-000000000000"
"""A deletion that never was."""


async def leftovers(cluster: Cluster, owner: UUID, deleted: Mapping[str, str]) -> list[str]:
    """By the document and its deletion; each must have a receipt of every store, and nothing else.

    Looked for when the sweeper has been there: until then somebody who was thought dead may have written more.
    """
    ids = [UUID(document) for document in deleted]
    await quiet(cluster, ids)
    found: list[str] = []
    receipts = {str(row["document_id"]): row for row in await cluster.rows("gateway", RECEIPTS, ids=ids)}
    for document, deletion in deleted.items():
        receipt = receipts.get(document)
        if receipt is None or str(receipt["id"]) != deletion:
            found.append(f"{document}: deleted, and there is no such receipt")
        elif (receipt["complete"], receipt["stores"]) != (True, STORES):
            found.append(f"{document}: deleted, and the receipt is {dict(receipt)}")
    for service, table, column in _tables():
        held = f"SELECT {column} AS document, count(*) AS rows FROM {table} WHERE {column} = ANY(:ids) GROUP BY 1"
        for row in await cluster.rows(service, held, ids=ids):
            found.append(f"{row['document']}: deleted, and {service} has {row['rows']} {table}")
    found += [
        f"{row['document_id']}: deleted, and told in message {row['id']}"
        for row in await cluster.rows("qa", QUOTED, ids=ids)
        if row["document_id"] in ids
    ]
    return found + await _outside(cluster, owner, ids)


async def _outside(cluster: Cluster, owner: UUID, documents: list[UUID]) -> list[str]:
    vault = await Vault.of(cluster, owner)
    found = [f"{id_}: of a deleted document, and in the index" for id_ in await vault.vectors(documents)]
    for document in documents:
        found += [f"{key}: of a deleted document, and in the object store" for key in await vault.objects(document)]
    return found


async def unseen(cluster: Cluster, owner: UUID, document: str) -> list[str]:
    """The stores in which nothing was found of a document that is there: what they say of deleted ones is no proof."""
    found = await leftovers(cluster, owner, {document: NEVER})
    places = ["no such receipt", "in the index", "in the object store", *(table for _, table, _ in _tables())]
    return [f"{document}: nothing seen of it: {place}" for place in places if not any(place in one for one in found)]


def _tables() -> Iterator[tuple[str, str, str]]:
    for service, tables in HELD.items():
        yield from ((service, table, column) for table, column in tables.items())

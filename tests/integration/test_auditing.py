"""The auditor is believed only because it has been seen to find what is wrong."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from contracts.objects import chunks_key, raw_key

from tests.e2e.person import Person
from tests.integration.auditing import mistakes
from tests.integration.cluster import Cluster
from tests.integration.people import a_file, all_ready, owner_of
from tests.integration.vault import Vault

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

Harm = Callable[[Cluster, Vault, UUID], Awaitable[None]]


async def a_passage_less(cluster: Cluster, vault: Vault, document: UUID) -> None:
    await cluster.rows("qa", "DELETE FROM passages WHERE document_id = :id RETURNING 1", id=document)


async def another_text(cluster: Cluster, vault: Vault, document: UUID) -> None:
    await cluster.rows("qa", "UPDATE passages SET text = text || '!' WHERE document_id = :id RETURNING 1", id=document)


async def a_chunk_twice(cluster: Cluster, vault: Vault, document: UUID) -> None:
    statement = (
        "INSERT INTO document_chunks SELECT document_id, version, ordinal + 1, page, text_start, text_end, byte_start,"
        " byte_end, sha256 FROM document_chunks WHERE document_id = :id RETURNING 1"
    )
    await cluster.rows("ingest", statement, id=document)


async def an_embedding_less(cluster: Cluster, vault: Vault, document: UUID) -> None:
    await cluster.rows("embedder", "DELETE FROM document_embeddings WHERE document_id = :id RETURNING 1", id=document)


async def a_vector_less(cluster: Cluster, vault: Vault, document: UUID) -> None:
    await vault.index("delete", {"where": vault.about(document)})


async def another_vector(cluster: Cluster, vault: Vault, document: UUID) -> None:
    found = await vault.index("get", {"where": vault.about(document), "include": ["embeddings"]})
    turned = [vector[1:] + vector[:1] for vector in found["embeddings"]]
    await vault.index("update", {"ids": found["ids"], "embeddings": turned})


async def other_bytes(cluster: Cluster, vault: Vault, document: UUID) -> None:
    await vault.put(raw_key(vault.owner, document), b"something else")


async def a_file_of_an_attempt_that_lost(cluster: Cluster, vault: Vault, document: UUID) -> None:
    await vault.put(chunks_key(vault.owner, document, 1, 99), b"")


async def a_second_end(cluster: Cluster, vault: Vault, document: UUID) -> None:
    statement = (
        "INSERT INTO document_events (document_id, version, fact, attempt, service)"
        " SELECT document_id, version, fact, 99, service FROM document_events"
        " WHERE document_id = :id AND fact LIKE '%ready%' RETURNING 1"
    )
    await cluster.rows("gateway", statement, id=document)


async def a_fact_that_was_never_sent(cluster: Cluster, vault: Vault, document: UUID) -> None:
    statement = (
        "INSERT INTO outbox (event_id, topic, subject, type, body, kept, sent_at, sent_partition, sent_offset)"
        " SELECT gen_random_uuid(), topic, subject, type, body, false, now(), sent_partition, sent_offset"
        " FROM outbox WHERE subject = :id LIMIT 1 RETURNING 1"
    )
    await cluster.rows("ingest", statement, id=str(document))


HARMS: dict[Harm, str] = {
    a_passage_less: "has other passages than chunks",
    another_text: "has other passages than chunks",
    a_chunk_twice: "chunks of 1 in ingest",
    an_embedding_less: "has 0 embeddings of 1",
    a_vector_less: "has 0 vectors in the index, 1 chunks",
    another_vector: "has other vectors in the index than were made",
    other_bytes: "has the objects",
    a_file_of_an_attempt_that_lost: "has the objects",
    a_second_end: "came to its end",
    a_fact_that_was_never_sent: "is told in another order",
}


async def test_what_is_wrong_is_found(cluster: Cluster) -> None:
    async with Person(cluster.stack.url) as ada:
        await ada.signs_up()
        harmed = {}
        for seed, harm in enumerate(HARMS):
            (document,) = await ada.uploads(a_file(50_000 + seed, sentences=3))
            harmed[harm] = document["id"]
        await all_ready(ada, len(harmed))
        assert await mistakes(cluster, owner_of(ada), harmed.values()) == []

        vault = await Vault.of(cluster, owner_of(ada))
        for harm, document in harmed.items():
            await harm(cluster, vault, UUID(document))

        found = await mistakes(cluster, owner_of(ada), harmed.values())
        for harm, expected in HARMS.items():
            assert [mistake for mistake in found if harmed[harm] in mistake and expected in mistake], (harm, found)

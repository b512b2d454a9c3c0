"""Passages of a long document are copied while its vectors are being made: who is first, and what shows meanwhile."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from chassis.ids import uuid7
from contracts.facts import (
    DocumentChunked,
    DocumentDeleted,
    DocumentEmbedded,
    DocumentFailed,
    DocumentPurged,
    DocumentReady,
)
from contracts.objects import chunks_key
from messaging.finishing import Ending, end
from messaging.jobs import Job
from messaging.tables import JobRow
from qa.indexing import COPY_EARLY, CopyPassages
from qa.workers import CopyEarly
from sqlalchemy import func, select, text, update

OWNER = UUID(int=7)
FAST = "How fast does the Kestrel pump run?"


def texts(speed: int = 4200, count: int = 65) -> list[str]:
    return [f"The Kestrel pump runs at {speed} rpm.", *(f"Fact {number}." for number in range(1, count))]


def chunked(fact: DocumentEmbedded) -> DocumentChunked:
    """What ingest has said before it."""
    return DocumentChunked.model_validate(fact.model_dump(exclude={"indexes"}))


def deleted(fact: DocumentEmbedded) -> DocumentDeleted:
    return DocumentDeleted(document_id=fact.document_id, owner_id=fact.owner_id, version=1, deletion_id=uuid7())


def failed(fact: DocumentEmbedded) -> DocumentFailed:
    return DocumentFailed(
        document_id=fact.document_id,
        owner_id=fact.owner_id,
        version=fact.version,
        stage="embedder",
        code="x",
        detail="x",
        retryable=True,
    )


async def passages(service: Any, document: UUID) -> list[tuple[int, str]]:
    """Version and text of each, in order."""
    query = "SELECT version, text FROM passages WHERE document_id = :document ORDER BY version, ordinal"
    async with service.sessions() as session:
        return [tuple(row) for row in await session.execute(text(query), {"document": document})]


async def writers(service: Any, document: UUID) -> set[str]:
    """The transactions that have written them."""
    query = "SELECT DISTINCT xmin::text FROM passages WHERE document_id = :document"
    async with service.sessions() as session:
        return set((await session.scalars(text(query), {"document": document})).all())


async def jobs(service: Any, kind: str = COPY_EARLY) -> list[JobRow]:
    async with service.sessions() as session:
        return list(await session.scalars(select(JobRow).where(JobRow.kind == kind)))


async def copying(service: Any) -> tuple[Job, Any]:
    """The job as somebody has taken it, and what its final transaction does: all before that is done."""
    async with service.sessions.begin() as session:
        lease = func.now() + timedelta(minutes=1)
        await session.execute(
            update(JobRow).where(JobRow.kind == COPY_EARLY).values(state="running", attempt=1, lease_until=lease)
        )
    (row,) = await jobs(service)
    fields = ("kind", "subject", "version", "part", "owner", "attempt", "tries", "crashes", "payload", "traceparent")
    job = Job(**{name: getattr(row, name) for name in fields})
    work = CopyEarly(service.transactions, CopyPassages(service.transactions, service.store))
    return job, await work.run(job)


async def test_what_is_copied_early_shows_when_the_vectors_are_there(service: Any, ada: Any) -> None:
    fact = await service.embed(ada.id, texts())
    await service.hear(chunked(fact))
    await service.work()
    assert await passages(service, fact.document_id) == [(1, one) for one in texts()]
    assert (await ada.answer(FAST))["answered"] is False
    assert await service.said() == []
    early = await writers(service, fact.document_id)

    await service.hear(fact)
    await service.work()
    assert len(await service.said(DocumentReady)) == 1
    assert (await ada.answer(FAST))["answered"] is True
    assert await writers(service, fact.document_id) == early


async def test_a_document_of_one_batch_is_copied_when_its_vectors_are_there(service: Any) -> None:
    await service.hear(chunked(await service.embed(OWNER, texts(count=64))))
    assert await jobs(service) == []


@pytest.mark.parametrize("copied_before", [False, True])
async def test_chunked_may_be_heard_last(service: Any, copied_before: bool) -> None:
    fact = await service.embed(OWNER, texts())
    await service.hear(fact)
    if copied_before:
        await service.work()
    await service.hear(chunked(fact))
    await service.work()
    assert len(await jobs(service)) == (0 if copied_before else 1)
    assert len(await passages(service, fact.document_id)) == 65
    assert len(await service.said(DocumentReady)) == 1


async def test_whoever_is_overtaken_while_copying_writes_nothing(service: Any) -> None:
    fact = await service.embed(OWNER, texts())
    await service.hear(chunked(fact))
    job, finish = await copying(service)
    await service.hear(fact)
    await service.work("index_passages")
    assert len(await service.said(DocumentReady)) == 1
    before = await writers(service, fact.document_id)
    ended = await end(service.transactions, job, state="done", act=finish, heeds_fence=True)
    assert ended.ending is Ending.WON
    assert await writers(service, fact.document_id) == before


async def test_what_was_copied_of_another_file_is_replaced(service: Any) -> None:
    fact = await service.embed(OWNER, texts(5100, count=70))
    await service.hear(chunked(fact))
    await service.work()
    again = await service.embed(OWNER, texts(4200), document=fact.document_id)
    await service.hear(again)
    await service.work()
    assert await passages(service, fact.document_id) == [(1, one) for one in texts(4200)]


async def test_a_copy_that_cannot_be_made_fails_nobody(service: Any) -> None:
    fact = await service.embed(OWNER, texts())
    key = chunks_key(OWNER, fact.document_id, 1, 1)
    content = await service.store.read(key, 0, 1_000_000)
    await service.store.delete(key)
    await service.hear(chunked(fact))
    await service.work()
    assert [job.state for job in await jobs(service)] == ["failed"]
    assert await service.said() == []

    async def once() -> Any:
        yield content

    await service.store.put(key, once())
    await service.hear(fact)
    await service.work()
    assert len(await service.said(DocumentReady)) == 1
    assert len(await passages(service, fact.document_id)) == 65


async def test_a_deletion_erases_what_was_copied_early(service: Any) -> None:
    fact = await service.embed(OWNER, texts())
    await service.hear(chunked(fact))
    await service.work()
    await service.hear(deleted(fact))
    await service.work("purge_document")
    (purged,) = await service.said(DocumentPurged)
    assert (purged.erased, purged.remaining) == (65, 0)
    assert await passages(service, fact.document_id) == []


async def test_a_copy_that_waits_is_not_begun_after_a_deletion(service: Any) -> None:
    fact = await service.embed(OWNER, texts())
    await service.hear(chunked(fact))
    await service.hear(deleted(fact))
    await service.hear(chunked(fact))
    assert [job.state for job in await jobs(service)] == ["cancelled"]


async def test_a_purge_waits_for_a_copy_that_is_being_made(service: Any) -> None:
    fact = await service.embed(OWNER, texts())
    await service.hear(chunked(fact))
    job, finish = await copying(service)
    await service.hear(deleted(fact))
    await service.work("purge_document")
    assert await service.said() == []
    ended = await end(service.transactions, job, state="done", act=finish, heeds_fence=True)
    assert ended.ending is Ending.LATE
    assert await passages(service, fact.document_id) == []


async def test_a_version_that_fails_at_the_embedder_leaves_nothing(service: Any) -> None:
    fact = await service.embed(OWNER, texts())
    await service.hear(chunked(fact))
    await service.work()
    await service.hear(failed(fact))
    assert await passages(service, fact.document_id) == []
    await service.hear(chunked(fact))
    await service.work()
    assert await passages(service, fact.document_id) == []


async def test_the_old_version_answers_while_the_new_one_is_copied(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, *texts())
    fact = await service.embed(ada.id, texts(5100), document=document, version=2)
    await service.hear(chunked(fact))
    await service.work()
    assert len(await passages(service, document)) == 2 * 65
    answer = await ada.answer(FAST)
    assert answer["sources"][0]["text"] == texts()[0]
    assert {source["version"] for source in answer["sources"]} == {1}
    await service.hear(failed(fact))
    assert await passages(service, document) == [(1, one) for one in texts()]


async def test_what_does_not_answer_yet_makes_no_word_common(service: Any, ada: Any) -> None:
    def buried(word: str, number: int) -> str:
        return " ".join([word, *(f"filler{number}x{each}" for each in range(60))])  # too little of it for a vector

    await service.add(ada.id, buried("Kestrel", 0))
    await service.hear(chunked(await service.embed(ada.id, [buried("Kestrel", number) for number in range(1, 66)])))
    await service.work()
    assert (await ada.answer("Kestrel"))["answered"] is True

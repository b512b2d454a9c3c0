"""From `chunked` to `embedded`, once, whatever happens in between."""

import asyncio
import threading

import numpy as np
import pytest
from contracts.facts import DocumentEmbedded, DocumentEmbeddingProgressed, DocumentFailed
from contracts.index import chunk_id
from messaging.finishing import Ending

from services.embedder.tests.at_work import AtWork, Document, Slow, a_document
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub
from tests.stubs.vectors import vector_of


async def test_every_chunk_gets_its_vector_in_the_tables_and_in_the_index(embedder: AtWork) -> None:
    document = a_document(chunks=130)
    await embedder.embed(document)

    expected = {chunk_id(document.id, 1, ordinal): vector_of(text, 64) for ordinal, text in enumerate(document.texts)}
    kept = await embedder.rows(document)
    assert kept.keys() == expected.keys()
    assert all(np.allclose(kept[name], expected[name], atol=1e-6) for name in expected)
    assert await embedder.vectors(document) == expected.keys()


async def test_embedded_is_said_once_and_names_file_and_index(embedder: AtWork) -> None:
    document = a_document(chunks=130)
    await embedder.embed(document)
    chunked = document.chunked()
    (said,) = await embedder.said(DocumentEmbedded)
    assert said == DocumentEmbedded(
        document_id=document.id,
        owner_id=document.owner,
        version=1,
        attempt=chunked.attempt,
        chunk_count=130,
        pages=chunked.pages,
        chunks_sha256=chunked.chunks_sha256,
        indexes=((await embedder.active()).index_id,),
    )


async def test_batches_are_of_64_and_cut_in_one_transaction(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    document = a_document(chunks=130)
    await embedder.embed(document)
    assert [job.part for job in await embedder.jobs(document, "embed")] == [0, 1, 2]
    assert sorted(openai_stub.embeddings.seen.texts_per_call) == [2, 64, 64]
    (run,) = await embedder.runs(document)
    assert (run.done, run.total, run.embedded_count) == (3, 3, 130)


async def test_progress_is_told_at_most_once_a_second(embedder: AtWork) -> None:
    document = a_document(chunks=64 * 6)
    await embedder.embed(document)
    told = await embedder.said(DocumentEmbeddingProgressed)
    assert told[0].embedded_count == 64
    assert told[0].chunk_count == 64 * 6
    assert len(told) < 5


async def test_two_last_batches_at_once_say_embedded_once(embedder: AtWork) -> None:
    document = a_document(chunks=70)
    await embedder.split(document)
    await embedder.hear(document.chunked())
    one, other = await Slow.take(embedder), await Slow.take(embedder)
    await asyncio.gather(one.write(), other.write())
    assert set(await asyncio.gather(one.conclude(), other.conclude())) == {Ending.WON}
    assert len(await embedder.said(DocumentEmbedded)) == 1


async def test_a_batch_done_twice_counts_once(embedder: AtWork) -> None:
    document = a_document(chunks=70)
    await embedder.split(document)
    await embedder.hear(document.chunked())
    slow = await Slow.take(embedder)
    await slow.write()
    await slow.lose_lease()
    async with embedder.working("embed"):
        await embedder.settled()
    assert await slow.conclude() is Ending.LOST
    (run,) = await embedder.runs(document)
    assert (run.done, run.total) == (2, 2)
    assert len(await embedder.said(DocumentEmbedded)) == 1
    assert len(await embedder.vectors(document)) == 70


async def test_hearing_chunked_again_changes_nothing(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.embed(document)
    assert openai_stub.embeddings.seen.calls == 1
    assert len(await embedder.said(DocumentEmbedded)) == 1


async def test_a_new_round_is_answered_once_with_the_same_outcome(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    document = a_document()
    await embedder.embed(document)
    await embedder.hear(document.chunked(asked=2), document.chunked(asked=2), document.chunked(asked=1))
    first, again = await embedder.said(DocumentEmbedded)
    assert again == first.model_copy(update={"round": 2})
    assert openai_stub.embeddings.seen.calls == 1


async def test_a_new_round_while_it_is_being_embedded_changes_nothing(embedder: AtWork) -> None:
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked(), document.chunked(asked=1))
    assert len(await embedder.jobs(document, "embed")) == 1
    assert await embedder.said(DocumentEmbedded) == []


async def test_a_document_without_chunks_is_embedded_at_once(embedder: AtWork) -> None:
    document = a_document(chunks=0)
    await embedder.hear(document.chunked())
    (said,) = await embedder.said(DocumentEmbedded)
    assert said.indexes == ((await embedder.active()).index_id,)


async def test_a_superseded_version_is_not_begun(embedder: AtWork) -> None:
    document = a_document()
    await embedder.hear(document.chunked(version=2), document.chunked(version=1))
    assert [run.version for run in await embedder.runs(document)] == [2]


async def test_a_file_that_is_not_the_one_announced_is_not_embedded(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    document = a_document()
    other = a_document(id=document.id, owner=document.owner)
    await embedder.split(other)
    await embedder.hear(document.chunked())
    async with embedder.working("embed"):
        await _tried(embedder, document)
    (job,) = await embedder.jobs(document, "embed")
    assert job.failure == "processing.chunks_changed"
    assert openai_stub.embeddings.seen.calls == 0


async def test_a_file_that_is_not_there_yet_is_waited_for(embedder: AtWork) -> None:
    document = a_document()
    await embedder.hear(document.chunked())
    async with embedder.working("embed"):
        await _tried(embedder, document)
        await embedder.split(document)
        await embedder.make_due("embed")
        await embedder.settled()
    assert len(await embedder.said(DocumentEmbedded)) == 1


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Behaviour(status=503), "provider.unavailable"),
        (Behaviour(status=429, retry_after="0"), "provider.unavailable"),
        (Behaviour(fault="html"), "provider.bad_answer"),
        (Behaviour(fault="nan"), "provider.bad_answer"),
        (Behaviour(fault="wrong_count"), "provider.bad_answer"),
        (Behaviour(fault="cut"), "provider.unavailable"),
    ],
    ids=lambda value: str(value.status or value.fault) if isinstance(value, Behaviour) else "",
)
async def test_trouble_that_passes_is_nobodys_loss(
    embedder: AtWork, openai_stub: OpenAIStub, behaviour: Behaviour, code: str
) -> None:
    openai_stub.embeddings.then(behaviour)
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    async with embedder.working("embed"):
        await _tried(embedder, document)
        (job,) = await embedder.jobs(document, "embed")
        assert (job.tries, job.failure) == (1, code)
        await embedder.make_due("embed")
        await embedder.settled()
    assert len(await embedder.said(DocumentEmbedded)) == 1
    assert await embedder.said(DocumentFailed) == []


async def test_trouble_that_does_not_pass_fails_the_version_after_exactly_its_tries(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    openai_stub.embeddings.usual = Behaviour(status=503)
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    async with embedder.working("embed", "drop"):
        async with asyncio.timeout(60):
            while not await embedder.said(DocumentFailed):
                await embedder.make_due("embed")
                await asyncio.sleep(0.01)
        await embedder.settled()
    (failed,) = await embedder.said(DocumentFailed)
    assert (failed.stage, failed.code, failed.retryable) == ("embedder", "provider.unavailable", True)
    assert openai_stub.embeddings.seen.calls == embedder.settings.tries
    assert await embedder.nothing_is_left(document)


async def test_a_text_that_the_provider_refuses_fails_its_version_at_once(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    openai_stub.embeddings.then(Behaviour(status=400))
    document = a_document(chunks=70)
    await embedder.split(document)
    await embedder.hear(document.chunked())
    async with embedder.working("embed", "drop"):
        await embedder.settled()
    (failed,) = await embedder.said(DocumentFailed)
    assert (failed.code, failed.retryable) == ("provider.refused", False)
    assert await embedder.said(DocumentEmbedded) == []
    assert await embedder.nothing_is_left(document)


@pytest.mark.parametrize("behaviour", [Behaviour(status=401), Behaviour(fault="wrong_dimension")])
async def test_a_wrong_configuration_lets_documents_wait_and_burns_no_try(
    embedder: AtWork, openai_stub: OpenAIStub, behaviour: Behaviour
) -> None:
    openai_stub.embeddings.usual = behaviour
    document = a_document()
    await embedder.split(document)
    await embedder.hear(document.chunked())
    async with embedder.working("embed"), asyncio.timeout(60):
        while not embedder.workers[0].pause.reason:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert "provider.misconfigured" in (embedder.workers[0].pause.reason or "")
    (job,) = await embedder.jobs(document, "embed")
    assert (job.state, job.tries) == ("waiting", 0)
    openai_stub.embeddings.usual = Behaviour()
    await embedder.make_due("embed")
    async with embedder.working("embed"):
        await embedder.settled()
    assert len(await embedder.said(DocumentEmbedded)) == 1


async def test_calls_to_the_provider_never_exceed_the_limit(embedder: AtWork, openai_stub: OpenAIStub) -> None:
    openai_stub.embeddings.usual = Behaviour(delay=0.2)
    await embedder.embed(a_document(chunks=64 * 20))
    assert 1 < openai_stub.embeddings.seen.most_in_flight <= embedder.settings.provider_in_flight


async def test_a_small_document_needs_no_place_of_a_long_ones_batches(
    embedder: AtWork, openai_stub: OpenAIStub
) -> None:
    long, small, held = a_document(chunks=64 * (embedder.settings.batches + 1)), a_document(), threading.Event()
    openai_stub.embeddings.usual = Behaviour(hold=held)
    await embedder.split(long)
    await embedder.split(small)
    async with embedder.working("embed"), asyncio.timeout(30):
        try:
            await embedder.hear(long.chunked(), small.chunked())
            while (await embedder.jobs(small, "embed"))[0].state != "running":  # noqa: ASYNC110 - it is a table
                await asyncio.sleep(0.01)
            assert [job.state for job in await embedder.jobs(long, "embed")].count("waiting") == 1
        finally:
            held.set()
        await embedder.settled()


async def _tried(embedder: AtWork, document: Document) -> None:
    """Until the first try of every batch has ended."""
    async with asyncio.timeout(60):
        while not all(job.tries for job in await embedder.jobs(document, "embed")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

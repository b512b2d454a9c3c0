"""The state machine: facts in any order, any number of times, and state only moves forward."""

import random
from typing import Any
from uuid import UUID

import pytest
from contracts.documents import DocumentStatus
from contracts.facts import (
    DocumentChunked,
    DocumentDeleted,
    DocumentEmbedded,
    DocumentEmbeddingProgressed,
    DocumentFact,
    DocumentFailed,
    DocumentParsingStarted,
    DocumentReady,
)
from gateway.progress import IllegalTransition, Progress, Verdict
from hypothesis import given
from hypothesis import strategies as st

IDS: dict[str, Any] = {"document_id": UUID(int=1), "owner_id": UUID(int=2)}
HASH = "f" * 64

PARSING, CHUNKED, HALF, EMBEDDED, READY = range(5)


def facts(version: int = 1, round_: int = 0) -> list[DocumentFact]:
    ids = {**IDS, "version": version, "round": round_}
    return [
        DocumentParsingStarted(**ids),
        DocumentChunked(**ids, chunk_count=10, pages=4, chunks_sha256=HASH),
        DocumentEmbeddingProgressed(**ids, embedded_count=5, chunk_count=10),
        DocumentEmbedded(**ids, chunk_count=10, pages=4, chunks_sha256=HASH, indexes=("one",)),
        DocumentReady(**ids, chunk_count=10, pages=4),
    ]


def a_failure(version: int = 1, *, retryable: bool = True) -> DocumentFailed:
    return DocumentFailed(
        **IDS, version=version, stage="ingest", code="pdf.encrypted", detail="Encrypted.", retryable=retryable
    )


def after(*heard: DocumentFact, start: Progress | None = None) -> Progress:
    progress = start or Progress()
    for fact in heard:
        progress = progress.hear(fact)
    return progress


def test_a_document_goes_through_its_stages() -> None:
    statuses = []
    progress = Progress()
    for fact in facts():
        progress = progress.hear(fact)
        statuses.append(progress.status)

    assert statuses == ["parsing", "embedding", "embedding", "embedding", "ready"]
    assert (progress.pages, progress.chunk_count, progress.embedded_count, progress.live_version) == (4, 10, 10, 1)


@given(st.permutations(facts() * 2))
def test_whatever_the_order_the_end_is_the_same(heard: list[DocumentFact]) -> None:
    assert after(*heard) == after(*facts())


@given(st.permutations([*facts(), a_failure()]))
def test_status_and_counts_never_go_back(heard: list[DocumentFact]) -> None:
    order = ["uploaded", "parsing", "embedding", "ready"]
    progress = Progress()
    for fact in heard:
        then, progress = progress, progress.hear(fact)
        if then.status in ("ready", "failed"):
            assert progress.status == then.status
        elif progress.status != "failed":
            assert order.index(progress.status) >= order.index(then.status)
        assert progress.embedded_count >= then.embedded_count
        assert (progress.chunk_count or 0) >= (then.chunk_count or 0)


def test_a_ready_document_cannot_fail() -> None:
    ready = after(facts()[READY])

    assert ready.hear(a_failure()) is ready


def test_a_failed_document_cannot_become_ready() -> None:
    failed = after(a_failure())

    assert failed.hear(facts()[READY]).status is DocumentStatus.FAILED
    assert failed.verdict == Verdict("ingest", "pdf.encrypted", "Encrypted.", retryable=True)


def test_ready_alone_fills_the_counts() -> None:
    progress = after(facts()[READY])

    assert (progress.pages, progress.chunk_count, progress.embedded_count) == (4, 10, 10)


def test_a_later_round_of_a_known_fact_changes_nothing() -> None:
    progress = after(*facts())

    for again in facts(round_=3):
        assert progress.hear(again) is progress


def test_a_new_version_starts_over_while_the_old_one_answers() -> None:
    again = after(*facts()).again()

    assert again == Progress(version=2, live_version=1)
    assert after(*facts(version=2), start=again).live_version == 2


def test_a_failed_reprocess_leaves_the_old_version_answering() -> None:
    progress = after(a_failure(version=2), start=after(*facts()).again())

    assert progress.status is DocumentStatus.FAILED
    assert progress.live_version == 1


def test_facts_about_an_older_version_change_nothing_but_what_answers() -> None:
    again = after(a_failure()).again()

    assert again.hear(facts()[CHUNKED]) is again
    assert again.hear(facts()[READY]).live_version == 1
    assert again.hear(facts()[READY]).status is DocumentStatus.UPLOADED


def test_a_version_that_was_never_asked_for_changes_nothing() -> None:
    progress = Progress()

    assert progress.hear(facts(version=7)[READY]) is progress


@pytest.mark.parametrize("status", [DocumentStatus.UPLOADED, DocumentStatus.PARSING, DocumentStatus.EMBEDDING])
def test_what_runs_cannot_be_started_again(status: DocumentStatus) -> None:
    with pytest.raises(IllegalTransition, match=f"that is {status}"):
        Progress(status=status).again()


def test_while_it_is_being_deleted_nothing_changes() -> None:
    deleting = after(facts()[CHUNKED]).deleted()

    for fact in [*facts(), a_failure(), DocumentDeleted(**IDS, version=1, deletion_id=UUID(int=3))]:
        assert deleting.hear(fact) is deleting
    with pytest.raises(IllegalTransition):
        deleting.again()


def test_only_what_failed_by_no_fault_of_its_own_may_succeed_later() -> None:
    assert after(a_failure(retryable=True)).may_succeed_later
    assert not after(a_failure(retryable=False)).may_succeed_later
    assert not after(*facts()).may_succeed_later


def test_a_fact_that_is_no_progress_is_ignored() -> None:
    progress = Progress()

    assert progress.hear(DocumentDeleted(**IDS, version=1, deletion_id=UUID(int=3))) is progress


def test_random_histories_of_several_versions_end_where_the_last_one_did() -> None:
    shuffle = random.Random(20)
    for _ in range(50):
        progress = after(*shuffle.sample(facts(), 5)).again()
        mixed = facts() + facts(version=2)
        shuffle.shuffle(mixed)
        assert after(*mixed, start=progress) == after(*facts(version=2), start=progress)

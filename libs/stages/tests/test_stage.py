"""A stage begins each version once, ends it once, and forgets what must go."""

from uuid import uuid4

import pytest
from chassis.failures import CrashLoop, Failure, Permanent, Transient
from contracts.facts import DocumentEmbedded, DocumentFailed, DocumentPurged
from messaging import fences
from messaging.jobs import Job

from libs.stages.tests.at_work import AtWork, payload


async def test_a_new_version_is_to_be_begun_until_it_has_its_outcome(at_work: AtWork) -> None:
    assert await at_work.begins(at_work.uploaded())
    await at_work.conclude(at_work.embedded())

    assert not await at_work.begins(at_work.uploaded())
    assert await at_work.begins(at_work.uploaded(2))
    assert not await at_work.begins(at_work.uploaded(1))


async def test_an_outcome_is_said_again_once_a_round(at_work: AtWork) -> None:
    await at_work.conclude(at_work.embedded())
    for asked in (0, 2, 2, 1):
        assert not await at_work.begins(at_work.uploaded(asked=asked))

    assert [fact.round for fact in await at_work.said(DocumentEmbedded)] == [0, 2]


async def test_what_has_failed_elsewhere_or_is_deleted_is_not_begun(at_work: AtWork) -> None:
    await at_work.hear(at_work.failed())
    assert not await at_work.begins(at_work.uploaded())
    await at_work.hear(at_work.deleted())
    assert not await at_work.begins(at_work.uploaded(2))


@pytest.mark.parametrize(
    ("failure", "retryable"),
    [
        (Transient("store.unavailable", "The store is away."), True),
        (CrashLoop("processing.crashed", "It crashed."), True),
        (Permanent("document.corrupt", "It cannot be read."), False),
    ],
)
async def test_what_it_cannot_do_is_said_and_dropped(at_work: AtWork, failure: Failure, retryable: bool) -> None:
    await at_work.add("embed")
    await fail(at_work, await at_work.job("embed"), failure)

    assert await at_work.said(DocumentFailed) == [
        DocumentFailed(
            document_id=at_work.document,
            owner_id=at_work.owner,
            version=1,
            round=3,
            attempt=1,
            stage="embedder",
            code=failure.code,
            detail=failure.detail,
            retryable=retryable,
        )
    ]
    assert (await at_work.fence()).is_too_late(1)
    assert await at_work.states() == {("embed", "cancelled"), ("drop", "waiting")}


async def test_a_failure_is_an_outcome_and_said_again_when_somebody_asks(at_work: AtWork) -> None:
    await at_work.add("embed")
    await fail(at_work, await at_work.job("embed"), Transient("store.unavailable", "The store is away."))
    await at_work.begins(at_work.uploaded(asked=4))

    assert [fact.round for fact in await at_work.said(DocumentFailed)] == [3, 4]


async def test_a_failure_of_another_stage_ends_the_work_on_that_version_alone(at_work: AtWork) -> None:
    for version in (1, 2):
        await at_work.add("embed", version=version)
    await at_work.add("rebuild")
    await at_work.hear(at_work.failed(1))

    assert [(row.version, row.state) for row in await at_work.jobs("embed")] == [(1, "cancelled"), (2, "waiting")]
    assert ("rebuild", "waiting") in await at_work.states()
    assert [row.part for row in await at_work.jobs("drop")] == [0, 1, 2, 3]


async def test_of_its_own_failures_it_knows(at_work: AtWork) -> None:
    await at_work.add("embed")
    await at_work.hear(at_work.failed(stage="embedder"))

    assert await at_work.states() == {("embed", "waiting")}


async def test_only_a_later_version_that_is_ready_makes_others_useless(at_work: AtWork) -> None:
    await at_work.hear(at_work.ready(1))
    assert await at_work.jobs() == []
    await at_work.hear(at_work.ready(2))
    assert {row.kind for row in await at_work.jobs()} == {"drop"}


async def test_a_deletion_ends_what_waits_and_is_noted_once(at_work: AtWork) -> None:
    for kind in ("embed", "rebuild", "drop"):
        await at_work.add(kind)
    await at_work.hear(at_work.deleted(asked=1), at_work.deleted(asked=2))

    ended = {(kind, "cancelled") for kind in ("embed", "rebuild", "drop")}
    assert await at_work.states() == {*ended, ("purge", "waiting")}
    (purge,) = await at_work.jobs("purge")
    assert payload(purge) == {"round": 1, "deletion_id": str(at_work.deletion), "hidden": 1}


async def test_after_a_deletion_nothing_is_dropped(at_work: AtWork) -> None:
    await at_work.hear(at_work.deleted(), at_work.ready(2), at_work.failed())

    assert await at_work.states() == {("purge", "waiting")}


async def test_a_deletion_that_has_its_receipt_gets_it_again_once_a_round(at_work: AtWork) -> None:
    await at_work.conclude(at_work.purged(erased=7))
    await at_work.hear(at_work.deleted(), at_work.deleted(asked=1), at_work.deleted(asked=1))

    assert await at_work.said(DocumentPurged) == [at_work.purged(erased=7), at_work.purged(erased=7, asked=1)]
    assert await at_work.jobs() == []


async def test_a_deletion_is_not_answered_with_another_outcome(at_work: AtWork) -> None:
    await at_work.conclude(at_work.embedded())
    await at_work.hear(at_work.deleted(asked=5))

    assert [fact.round for fact in await at_work.said(DocumentEmbedded)] == [0]
    assert await at_work.states() == {("purge", "waiting")}


async def fail(at_work: AtWork, job: Job, failure: Failure) -> None:
    async with at_work.sessions.begin() as session:
        fence = await fences.lock(session, job.subject)
        await at_work.stage.fail(session, fence, job, failure, asked=3)


async def test_a_fact_that_names_another_owner_changes_nothing(at_work: AtWork) -> None:
    at_work.holdings.of = at_work.owner
    await at_work.conclude(at_work.embedded())
    before = await at_work.fence()
    anothers = {"owner_id": uuid4()}
    assert not await at_work.begins(at_work.uploaded(2).model_copy(update=anothers))
    await at_work.hear(
        at_work.ready(2).model_copy(update=anothers),
        at_work.failed().model_copy(update=anothers),
        at_work.deleted().model_copy(update=anothers),
    )

    assert await at_work.fence() == before
    assert await at_work.jobs() == []
    assert await at_work.begins(at_work.uploaded(2))
    await at_work.hear(at_work.deleted())
    assert await at_work.states() == {("purge", "waiting")}

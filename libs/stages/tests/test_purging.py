"""A receipt says what was erased, and is not written while somebody may still write."""

from datetime import timedelta
from uuid import UUID

import pytest
from chassis.failures import Transient
from contracts.facts import DocumentPurged
from stages.erasing import LONGEST_LEASE, LOOK_AGAIN

from libs.stages.tests.at_work import AtWork, Remembered


async def test_a_receipt_counts_what_was_hidden_outside_and_inside(at_work: AtWork) -> None:
    at_work.holdings.inside, at_work.holdings.outside = {1: 5, 2: 6}, {1: 100}
    await at_work.hear(at_work.deleted(asked=2))
    await at_work.do(at_work.purge)

    assert await at_work.said(DocumentPurged) == [at_work.purged(erased=1 + 11 + 100, asked=2)]
    assert (at_work.holdings.inside, at_work.holdings.outside) == ({}, {})


async def test_a_document_never_heard_of_gets_its_receipt(at_work: AtWork) -> None:
    await at_work.hear(at_work.deleted())
    await at_work.do(at_work.purge)

    assert await at_work.said(DocumentPurged) == [at_work.purged(erased=1)]


@pytest.mark.parametrize("kind", ["embed", "rebuild"])
async def test_no_receipt_while_somebody_may_write(at_work: AtWork, kind: str) -> None:
    await at_work.add(kind)
    await at_work.lease(kind)
    await at_work.hear(at_work.deleted())
    with pytest.raises(Transient, match=r"processing\.busy"):
        await at_work.do(at_work.purge)
    await at_work.lease(kind, seconds=-1)
    await at_work.do(at_work.purge)

    assert len(await at_work.said(DocumentPurged)) == 1


async def test_no_receipt_while_somebody_else_s_work_may_bring_it_back(at_work: AtWork) -> None:
    at_work.holdings.written_for_others = True
    await at_work.hear(at_work.deleted())
    with pytest.raises(Transient, match=r"processing\.busy"):
        await at_work.do(at_work.purge)


async def test_what_is_written_while_it_looks_whether_somebody_writes_is_erased_and_counted(at_work: AtWork) -> None:
    class WrittenMeanwhile(Remembered):
        async def erase_outside(self, owner: UUID, document: UUID) -> int:
            erased = await super().erase_outside(owner, document)
            if erased:
                self.outside = {1: erased - 1}
            return erased

    holdings = WrittenMeanwhile()
    holdings.outside = {1: 2}
    again = AtWork(at_work.sessions, holdings)
    await again.hear(again.deleted())
    await again.do(again.purge)

    assert [purged.erased for purged in await again.said(DocumentPurged)] == [1 + 2 + 1]


async def test_somebody_looks_again_after_the_longest_lease_an_hour_and_a_day(at_work: AtWork) -> None:
    await at_work.hear(at_work.deleted())
    await at_work.do(at_work.purge)

    sweeps = await at_work.jobs("sweep")
    assert tuple(job.available_at - job.added_at for job in sweeps) == LOOK_AGAIN
    assert LOOK_AGAIN[0] > LONGEST_LEASE
    assert LOOK_AGAIN[1:] == (timedelta(hours=1), timedelta(days=1))


async def test_a_sweep_erases_what_came_late_and_says_that_it_is_verified(at_work: AtWork) -> None:
    await at_work.hear(at_work.deleted())
    await at_work.do(at_work.purge)
    at_work.holdings.inside, at_work.holdings.outside = {1: 2}, {1: 3}
    for _ in range(2):
        await at_work.do(at_work.sweep)

    receipt, *verified = await at_work.said(DocumentPurged)
    assert receipt == at_work.purged(erased=1)
    assert verified == [at_work.purged(erased=1 + 5, verified=True)] * 2


async def test_a_round_that_was_answered_before_a_sweep_is_not_answered_again_after_it(at_work: AtWork) -> None:
    await at_work.hear(at_work.deleted())
    await at_work.do(at_work.purge)
    await at_work.hear(at_work.deleted(asked=3))
    await at_work.do(at_work.sweep)
    said = await at_work.said(DocumentPurged)
    await at_work.hear(at_work.deleted(asked=3))
    assert await at_work.said(DocumentPurged) == said
    assert [purged.round for purged in said] == [0, 3, 3]

"""The rules of the fence."""

from uuid import uuid4

import pytest
from messaging.fences import Fence

from libs.messaging.tests.samples import deleted, failed, ready, uploaded


def a_fence(*, version: int = 0, live: int = 0, failed: tuple[int, ...] = ()) -> Fence:
    return Fence(subject="x", version=version, live=live, failed=list(failed))


def test_a_version_heard_for_the_first_time_has_something_to_do() -> None:
    fence = a_fence()
    assert fence.hear(1)
    assert fence.hear(1)
    assert fence.version == 1


def test_an_older_version_than_the_one_heard_is_over() -> None:
    fence = a_fence(version=3)
    assert not fence.hear(2)
    assert fence.version == 3


def test_a_superseded_version_is_over_and_not_too_late() -> None:
    fence = a_fence(version=2, live=1)
    assert fence.is_over(1)
    assert not fence.is_too_late(1)


def test_a_version_below_the_live_one_is_too_late() -> None:
    fence = a_fence(version=2)
    fence.raise_live(2)
    assert fence.is_too_late(1)
    assert not fence.is_too_late(2)


def test_ready_raises_live_below_the_highest_version() -> None:
    fence = a_fence(version=3, live=1)
    fence.raise_live(2)
    assert (fence.version, fence.live) == (3, 2)
    fence.raise_live(1)
    assert fence.live == 2


def test_every_failed_version_is_remembered_until_a_higher_one_is_live() -> None:
    fence = a_fence(version=1)
    for version in (1, 2, 2, 4):
        fence.fail(version)
    assert fence.failed == [1, 2, 4]
    assert fence.is_too_late(2)
    assert not fence.is_too_late(3)
    fence.raise_live(3)
    assert fence.failed == [4]
    assert fence.is_too_late(2)


def test_after_a_deletion_every_version_is_too_late() -> None:
    fence = a_fence(version=2, live=2)
    assert fence.delete()
    assert not fence.delete()
    assert fence.is_over(2)
    assert fence.is_too_late(2)
    assert not fence.hear(3)


def test_an_outcome_is_said_again_once_a_round() -> None:
    document, fence = uuid4(), a_fence(version=1)
    assert fence.answer_round(uploaded(document, round_=1)) is None
    outcome = ready(document)
    fence.conclude(outcome)

    assert fence.answer_round(uploaded(document)) is None, "a plain redelivery changes nothing"
    assert fence.answer_round(uploaded(document, round_=2)) == outcome.model_copy(update={"round": 2})
    assert fence.answer_round(uploaded(document, round_=2)) is None
    assert fence.answer_round(uploaded(document, round_=1)) is None
    assert fence.answer_round(uploaded(document, round_=3)) == outcome.model_copy(update={"round": 3})


def test_the_outcome_of_another_version_is_not_said() -> None:
    document, fence = uuid4(), a_fence(version=2)
    fence.conclude(failed(document, version=1))
    assert fence.outcome_of(1) == failed(document, version=1)
    assert fence.outcome_of(2) is None
    assert fence.answer_round(uploaded(document, version=2, round_=1)) is None


@pytest.mark.parametrize("fact", [ready(), failed(), deleted(), uploaded()])
def test_an_outcome_comes_back_as_it_was(fact: object) -> None:
    fence = a_fence()
    fence.conclude(fact)  # type: ignore[arg-type]
    assert fence.outcome_of(1) == fact

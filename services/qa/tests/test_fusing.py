from uuid import UUID

from qa.fusing import fuse
from qa.passages import PassageId

A, B, C = (PassageId(UUID(int=number), 1, 0) for number in (1, 2, 3))


def test_what_both_halves_found_comes_before_what_one_found() -> None:
    assert [item.id for item in fuse([[A, B], [C, B]])] == [B, A, C]


def test_first_everywhere_scores_one() -> None:
    assert fuse([[A, B], [A]])[0].score == 1
    assert fuse([[A]])[0].score == 1


def test_a_passage_named_twice_gains_nothing() -> None:
    assert [item.score for item in fuse([[A, A, A]])] == [1]


def test_nothing_found_is_an_empty_ranking() -> None:
    assert fuse([]) == []
    assert fuse([[], []]) == []

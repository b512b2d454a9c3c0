from math import nan
from uuid import UUID

import pytest
from qa.evidence import TextHit, VectorHit, Word, close_enough, rare_words, supported
from qa.passages import PassageId


def passage(number: int) -> PassageId:
    return PassageId(UUID(int=1), 1, number)


def text_hit(number: int, *found: str, rank: float = 0.1) -> TextHit:
    return TextHit(passage(number), frozenset(found), rank)


def test_neighbours_below_the_floor_are_no_evidence() -> None:
    hits = [VectorHit(passage(0), 0.2), VectorHit(passage(1), 0.5), VectorHit(passage(2), 0.9)]
    assert [hit.id.ordinal for hit in close_enough(hits, 0.5)] == [2, 1]


def test_a_distance_that_is_no_number_is_no_evidence() -> None:
    assert close_enough([VectorHit(passage(0), nan)], 0.1) == []


def test_a_passage_with_the_rare_words_is_evidence() -> None:
    words = [Word("warranti", 1), Word("kestrel", 2), Word("compani", 400)]
    assert supported([text_hit(0, "warranti", "kestrel")], words, 500) == [text_hit(0, "warranti", "kestrel")]


def test_common_words_alone_are_no_evidence() -> None:
    words = [Word("compani", 400), Word("revenu", 300), Word("tungsten", 0)]
    assert supported([text_hit(0, "compani", "revenu")], words, 500) == []


def test_a_word_that_nobody_holds_counts_against_the_others() -> None:
    words = [Word("capit", 1), Word("mongolia", 0)]
    assert supported([text_hit(0, "capit")], words, 500) == []


def test_one_paraphrased_word_of_three_is_forgiven() -> None:
    words = [Word("kestrel", 1), Word("warranti", 1), Word("terminu", 0)]
    assert len(supported([text_hit(0, "kestrel", "warranti")], words, 500)) == 1


@pytest.mark.parametrize("code", ["xk-4711", "v2.4.0", "2.4.0", "192.168.17.42"])
def test_a_code_is_evidence_by_itself(code: str) -> None:
    words = [Word(code, 1), Word("torqu", 0), Word("gearbox", 0)]
    assert len(supported([text_hit(0, code)], words, 500)) == 1


def test_a_year_is_no_code() -> None:
    words = [Word("2023", 1), Word("championship", 0)]
    assert supported([text_hit(0, "2023")], words, 500) == []


def test_words_that_one_asks_with_are_never_rare() -> None:
    assert rare_words([Word("explain", 0), Word("document", 1), Word("pump", 1)], 500) == [Word("pump", 1)]


def test_with_three_passages_no_word_is_common_yet() -> None:
    assert rare_words([Word("pump", 3)], 3) == [Word("pump", 3)]


def test_rarer_words_weigh_more() -> None:
    words = [Word("pump", 45), Word("kestrel", 1), Word("valv", 45)]
    found = [text_hit(0, "pump", "valv", rank=0.9), text_hit(1, "pump", "kestrel", "valv")]
    assert [hit.id.ordinal for hit in supported(found, words, 500)] == [1, 0]

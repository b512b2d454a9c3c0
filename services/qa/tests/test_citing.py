import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qa.citing import CitationChecker, cited_numbers

NUMBER = r"\s{0,4}\d{1,4}\s{0,4}"
CITATION = re.compile(rf"\[{NUMBER}(?:[-–,;]{NUMBER})*\]")


def in_pieces(answer: str, sources: int, size: int) -> tuple[str, set[int]]:
    checker = CitationChecker(sources)
    passed = [checker.feed(answer[at : at + size]) for at in range(0, len(answer), size)]
    return "".join([*passed, checker.finish()]), checker.cited


def whole(answer: str, sources: int) -> tuple[str, set[int]]:
    return in_pieces(answer, sources, max(1, len(answer)))


@pytest.mark.parametrize(
    ("answer", "passed", "cited"),
    [
        ("It runs at 40 rpm [1].", "It runs at 40 rpm [1].", {1}),
        ("Both say so [1][3].", "Both say so [1][3].", {1, 3}),
        ("Both say so [1, 3].", "Both say so [1, 3].", {1, 3}),
        ("All do [1-3].", "All do [1-3].", {1, 2, 3}),
        ("Nobody said this [9].", "Nobody said this.", set()),
        ("Half of it [2, 9].", "Half of it [2].", {2}),
        ("Zero [0] is no source.", "Zero is no source.", set()),
        ("An array a[i] and [note] stay.", "An array a[i] and [note] stay.", set()),
        ("Unclosed [1", "Unclosed [1", set()),
        ("Hidden [9[42]9].", "Hidden [9(42)9].", set()),
        ("Hidden [[99]1].", "Hidden [(99)1].", set()),
        ("Hidden [4 [99], 2].", "Hidden [4 (99), 2].", set()),
        ("Within [9[2]9] it is one.", "Within [9[2]9] it is one.", {2}),
        ("Some write 【1】 and 【2, 9】 and 【9】.", "Some write [1] and [2] and.", {1, 2}),
        ("【重要】 and 【a】 stay.", "【重要】 and 【a】 stay.", set()),
        ("Hidden 【9[42]9】.", "Hidden 【9(42)9】.", set()),
        ("Before it [x] one [9].", "Before it [x] one.", set()),
        ("Ends with space ", "Ends with space ", set()),
        ("", "", set()),
    ],
)
def test_a_citation_stays_only_if_it_names_a_source(answer: str, passed: str, cited: set[int]) -> None:
    assert whole(answer, 3) == (passed, cited)


@given(
    st.lists(
        st.sampled_from(
            [
                "word ",
                "[1]",
                "[2, 7]",
                " [9]",
                "[",
                "]",
                "[12",
                "\n",
                "[1-3]",
                "[a]",
                "  ",
                "é",
                "7",
                "[99]",
                ",",
                "-",
                "【1】",
                "【",
                "】",
            ]
        ),
        max_size=12,
    ).map("".join),
    st.integers(1, 5),
)
def test_however_the_answer_is_cut_the_same_text_passes_and_it_cites_sources_alone(answer: str, size: int) -> None:
    passed, cited = in_pieces(answer, 3, size)
    assert (passed, cited) == whole(answer, 3)
    assert set(itertools.chain(*map(cited_numbers, CITATION.findall(passed)))) == cited <= {1, 2, 3}


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("numbers", [18, 64, 65])
def test_a_long_bracket_is_checked_in_pieces_as_it_is_whole(numbers: int, size: int) -> None:
    answer = f"All of them [{', '.join(str(number) for number in range(1, numbers))}, 99] say so."
    assert in_pieces(answer, 20, size) == whole(answer, 20)
    assert ("99" in whole(answer, 20)[0]) is (numbers > 64)


def test_text_without_brackets_is_not_held_back() -> None:
    checker = CitationChecker(3)
    assert checker.feed("The pump") == "The pump"
    assert checker.feed(" runs") == " runs"


def test_a_bracket_that_never_closes_is_let_go_in_time() -> None:
    checker = CitationChecker(3)
    assert checker.feed("[" + "1" * 100) != ""


def test_an_absurd_range_is_its_two_ends() -> None:
    assert cited_numbers("[1-9999]") == [1, 9999]
    assert cited_numbers("[3-1]") == [3, 1]

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest.splitting import Splitter
from langchain_text_splitters import RecursiveCharacterTextSplitter

TEXTS = st.text(alphabet="ab .\n\t\r。é😀!?\u3000", max_size=500)
SIZES = st.integers(10, 60)


@settings(max_examples=500, deadline=None)
@given(TEXTS, SIZES, st.integers(0, 5))
def test_pieces_lie_where_they_say_and_nothing_but_white_space_is_lost(text: str, size: int, overlap: int) -> None:
    spans = Splitter(size, overlap).spans(text)

    covered = {position for start, end in spans for position in range(start, end)}
    assert all(character.isspace() for position, character in enumerate(text) if position not in covered)
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
        assert end - start <= size
    assert spans == sorted(set(spans))
    assert [start for start, _ in spans] == sorted({start for start, _ in spans})


@settings(max_examples=200, deadline=None)
@given(TEXTS, SIZES)
def test_a_piece_repeats_no_more_than_the_overlap(text: str, size: int) -> None:
    overlap = 5
    spans = Splitter(size, overlap).spans(text)

    for (_, end), (start, _) in pairwise(spans):
        assert end - start <= overlap


@settings(max_examples=500, deadline=None)
@given(TEXTS, SIZES, st.integers(0, 5))
def test_pieces_are_those_that_langchain_makes(text: str, size: int, overlap: int) -> None:
    assert Splitter(size, overlap).spans(text) == langchains(size, overlap).spans(text)


def test_text_without_any_break_is_cut_in_linear_time() -> None:
    text = "x" * 40_000

    assert seconds(Splitter(20_000, 0), text) * 3 < seconds(langchains(20_000, 0), text)


def langchains(size: int, overlap: int) -> Splitter:
    """A splitter that joins what it has cut as LangChain does."""
    splitter = Splitter(size, overlap)
    splitter._cutter.__class__ = RecursiveCharacterTextSplitter  # type: ignore[assignment]
    return splitter


def seconds(splitter: Splitter, text: str) -> float:
    """Processor time, which depends less on what else the machine does."""
    before = time.process_time()
    splitter.spans(text)
    return time.process_time() - before


def test_positions_are_right_where_the_text_repeats_itself() -> None:
    line = "The same sentence stands here again and again.\n"
    text = line * 200
    spans = Splitter(300, 60).spans(text)

    assert spans[-1][1] == len(text.rstrip())
    assert all(end - previous_end <= 300 for (_, previous_end), (_, end) in pairwise(spans))
    assert {text[start:end].count(line.strip()) for start, end in spans[1:-1]} == {6}


def test_a_short_text_is_one_piece_without_its_margins() -> None:
    assert Splitter(1000, 150).spans("\n\n  A short note.  \n") == [(4, 17)]


@pytest.mark.parametrize("blank", ["", " ", "\n\n\t", "\u3000"])
def test_a_blank_text_has_no_pieces(blank: str) -> None:
    assert Splitter(1000, 150).spans(blank) == []


def test_a_piece_ends_with_a_sentence_where_one_ends() -> None:
    text = "A first sentence of some words. A second one of as many. " * 40
    splitter = Splitter(200, 0)

    assert all(text[start:end].endswith(".") for start, end in splitter.spans(text))


def test_a_heading_stays_with_what_it_heads() -> None:
    body = "Every word of this paragraph counts. " * 10
    text = f"Termination\n\n{body.strip()}"
    first, *_ = Splitter(200, 50).spans(text)

    assert text[slice(*first)].startswith("Termination\n\nEvery word")


def test_the_repeated_part_begins_with_a_word() -> None:
    text = " ".join(f"word{number}" for number in range(500))
    spans = Splitter(200, 40).spans(text)

    assert all(text[start - 1] == " " for start, _ in spans[1:])
    assert all(start < previous_end for (_, previous_end), (start, _) in pairwise(spans))


def test_a_large_file_is_split_in_blocks_at_white_space() -> None:
    text = "\n".join(f"Line {number} of a very long file." for number in range(20_000))
    spans = Splitter(1000, 150).spans(text)

    assert max(end - start for start, end in spans) <= 1000
    assert all(text[start - 1].isspace() for start, _ in spans[1:])
    assert spans[-1][1] == len(text)


def test_text_without_any_break_is_cut_all_the_same() -> None:
    text = "x" * 200_000
    spans = Splitter(1000, 150).spans(text)

    assert spans[0] == (0, 850)
    assert spans[1] == (850, 1700)
    assert spans[-1][1] == len(text)

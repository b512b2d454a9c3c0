from chassis.storable import storable
from hypothesis import given
from hypothesis import strategies as st
from ingest.cleaning import tidy_page

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@given(ANY_TEXT)
def test_cleaned_text_is_taken_by_every_store_and_keeps_its_positions(text: str) -> None:
    cleaned = storable(text)

    assert len(cleaned) == len(text)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")


def test_what_is_replaced_leaves_its_neighbours_alone() -> None:
    assert storable("a\x00b\ud800c😀") == "a b\N{REPLACEMENT CHARACTER}c😀"


def test_a_page_has_one_kind_of_line_end() -> None:
    assert tidy_page("one  \r\ntwo\rthree\n") == "one\ntwo\nthree\n"


def test_a_word_broken_at_the_end_of_a_line_is_made_whole() -> None:
    assert tidy_page("hyphen\ufffeated, ano\x02\r\nther and a soft\xad\nly broken one") == (
        "hyphenated, another and a softly broken one"
    )


def test_a_word_that_a_browser_has_broken_is_made_whole_and_a_name_keeps_its_hyphen() -> None:
    assert tidy_page("build\u2010\r\nings of Jean\u2010\r\nPaul, Wör\u2010\nter, a\u2010b, 2020\u2010\n2024") == (
        "buildings of Jean\u2010Paul, Wörter, a\u2010b, 2020\u2010\n2024"
    )


def test_a_ligature_whose_bytes_ghostscript_has_swapped_is_its_letters_and_a_name_is_none() -> None:
    garbled = "the \u6600\u6900rst o\u6600\u6600er, con\u6600\u6900rmed o\u6600\u6600\u6900cially"
    assert tidy_page(f"{garbled}; \u7eaa\u6600, A\u6600B") == (
        "the first offer, confirmed officially; \u7eaa\u6600, A\u6600B"
    )


def test_hyphens_that_nobody_sees_are_left_out_and_those_that_are_drawn_are_hyphens() -> None:
    assert tidy_page("super\xadinten\xaddent of part XK\xad4711, 2020\xad2024") == (
        "superintendent of part XK-4711, 2020-2024"
    )


def test_a_letter_and_its_accent_are_one_character() -> None:
    assert tidy_page("Pfo\u0308rtner, Besanc\u0327on, Z\u0307eromski") == "Pförtner, Besançon, Żeromski"

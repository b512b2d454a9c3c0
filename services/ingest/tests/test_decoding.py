import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest.decoding import decode

PROSE = "Der Vertrag über 20 € läuft am 3. März aus – niemand weiß, warum.\n"
MIXED = PROSE + "日本語の文書 😀\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_in_any_marked_unicode_encoding_is_read(encoding: str) -> None:
    assert decode(MIXED.encode(encoding)) == MIXED


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_the_byte_order_mark_decides_how_utf_16_is_read(mark: bytes) -> None:
    encoding = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    assert decode(mark + MIXED.encode(encoding)) == MIXED


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_western_utf_16_without_a_mark_is_recognised_by_its_nuls(encoding: str) -> None:
    assert decode(PROSE.encode(encoding)) == PROSE


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("astray", ["─" * 10, "Āboli", "☀"])
def test_utf_16_without_a_mark_may_have_some_characters_that_end_in_a_nul(encoding: str, astray: str) -> None:
    text = PROSE + astray + PROSE * 10

    assert decode(text.encode(encoding)) == text


def test_windows_1252_is_read_with_its_quotes_and_euros() -> None:
    assert decode("“Café” costs 5 €".encode("cp1252")) == "“Café” costs 5 €"


def test_bytes_that_windows_1252_does_not_know_are_read_as_latin_1() -> None:
    assert decode(b"caf\xe9 \x81") == "café \x81"


def test_damage_in_a_utf_8_file_costs_only_what_is_damaged() -> None:
    raw = MIXED.encode()
    damaged = raw[:30] + b"\xff" + raw[30:]
    assert decode(damaged).replace("\N{REPLACEMENT CHARACTER}", "") == MIXED


def test_nul_bytes_do_not_survive() -> None:
    assert decode(b"one\x00two") == "one two"


def test_half_a_character_at_the_end_of_utf_16_is_marked_as_such() -> None:
    assert decode("ab".encode("utf-16")[:-1]) == "a\N{REPLACEMENT CHARACTER}"


def test_an_empty_file_is_an_empty_text() -> None:
    assert decode(b"") == ""
    assert decode(b"\xef\xbb\xbf") == ""


@given(st.binary())
def test_any_bytes_at_all_become_a_text_that_can_be_stored(raw: bytes) -> None:
    text = decode(raw)

    assert "\x00" not in text
    text.encode("utf-8")


@given(st.text(st.characters(exclude_characters="\x00\ufeff", exclude_categories=["Cs"])))
def test_every_utf_8_text_is_read_as_it_was_written(text: str) -> None:
    assert decode(text.encode("utf-8-sig")) == text

import pytest
from gateway.filenames import clean, decode, extension
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\Users\\ada\\report.pdf", "report.pdf"),
        ("/", "document"),
        ("..", "document"),
        ("", "document"),
        ("a\x00b\nc\x7f.txt", "abc.txt"),
        ("inv\u202eoice\u2066.txt", "invoice.txt"),
        ("half\ud800.txt", "half.txt"),
        ("  spaces   in \t between .md ", "spaces in between .md"),
        ("Ünïcödé 文件.pdf", "Ünïcödé 文件.pdf"),
        ("e\u0301.txt", "é.txt"),
        ("{{7*7}}<script>.txt", "{{7*7}}<script>.txt"),
    ],
)
def test_a_name_is_never_a_path_and_shows_what_it_is(sent: str, kept: str) -> None:
    assert clean(sent) == kept


def test_a_long_name_keeps_its_extension() -> None:
    short = clean("ü" * 300 + ".pdf")

    assert len(short.encode()) <= 255
    assert short.endswith("ü.pdf")


@given(st.text(max_size=600))
def test_whatever_is_sent_can_be_stored_and_is_no_path(sent: str) -> None:
    name = clean(sent)

    assert 1 <= len(name.encode()) <= 255
    assert "/" not in name
    assert "\\" not in name
    assert name == clean(name)


def test_names_are_read_as_browsers_send_them() -> None:
    assert decode("naïve.txt".encode()) == "naïve.txt"
    assert decode("naïve.txt".encode("latin-1")) == "naïve.txt"
    assert decode(b"a%22b%22.txt") == 'a"b".txt'


@pytest.mark.parametrize(("name", "end"), [("a.PDF", ".pdf"), ("a.b.md", ".md"), ("a", ""), (".pdf", ""), ("a.", ".")])
def test_the_extension_is_what_follows_the_last_dot(name: str, end: str) -> None:
    assert extension(name) == end

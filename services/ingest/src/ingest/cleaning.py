"""Text that every store takes and people can read."""

import re

_NUL_OR_SURROGATE = re.compile("[\x00\ud800-\udfff]")
# pdfium puts one of these where a line ends within a word.
_BROKEN_WORD = re.compile("[\x02\xad\ufffe]\n")
_HYPHEN_MARKS = re.compile("[\x02\ufffe]")
_SPACE_BEFORE_LINE_END = re.compile("[ \t]+\n")


def storable(text: str) -> str:
    """The text without what Postgres and JSON refuse. Replaced one for one, so that positions stay what they were."""
    return _NUL_OR_SURROGATE.sub(_replacement, text)


def tidy_page(text: str) -> str:
    """The text of a PDF page as all positions count it: one kind of line end, words made whole again."""
    text = storable(text).replace("\r\n", "\n").replace("\r", "\n")
    text = _SPACE_BEFORE_LINE_END.sub("\n", text)
    return _HYPHEN_MARKS.sub("-", _BROKEN_WORD.sub("", text))


def _replacement(match: re.Match[str]) -> str:
    return " " if match[0] == "\x00" else "\N{REPLACEMENT CHARACTER}"

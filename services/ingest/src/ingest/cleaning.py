"""Text that every store takes and people can read."""

import re

_NUL_OR_SURROGATE = re.compile("[\x00\ud800-\udfff]")
# pdfium puts U+FFFE (once U+0002) where a word was broken at the end of a line; some files break it themselves.
_WORD_BREAK = re.compile("[\x02\ufffe]\n?|\xad\n")


def storable(text: str) -> str:
    """The text without what Postgres and JSON refuse. Replaced one for one, so that positions stay what they were."""
    if text.isascii():
        return text.replace("\x00", " ")
    return _NUL_OR_SURROGATE.sub(_replacement, text)


def tidy_page(text: str) -> str:
    """The text of a PDF page as all positions count it: one kind of line end, words made whole again."""
    lines = storable(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    text = "\n".join(line.rstrip(" \t") for line in lines)
    return text if text.isascii() and "\x02" not in text else _WORD_BREAK.sub("", text)


def _replacement(match: re.Match[str]) -> str:
    return " " if match[0] == "\x00" else "\N{REPLACEMENT CHARACTER}"

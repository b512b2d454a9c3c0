"""Text that every store takes and people can read."""

import re

from chassis.storable import storable

# pdfium puts U+FFFE (once U+0002) where a word was broken at the end of a line; some files break it themselves.
_WORD_BREAK = re.compile("[\x02\ufffe]\n?|\xad\n")


def tidy_page(text: str) -> str:
    """The text of a PDF page as all positions count it: one kind of line end, words made whole again."""
    lines = storable(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    text = "\n".join(line.rstrip(" \t") for line in lines)
    return text if text.isascii() and "\x02" not in text else _WORD_BREAK.sub("", text)

"""Text that every store takes and people can read."""

import re
from unicodedata import normalize

from chassis.storable import storable

# pdfium puts U+FFFE (once U+0002) where a word was broken at the end of a line; some files break it themselves.
_WORD_BREAK = re.compile("[\x02\ufffe]\n?|\xad\n")
# A browser's engine breaks words by a hyphen that no keyboard has, and that pdfium leaves as it is.
_TYPESET_BREAK = re.compile("(?<=[^\\W\\d_])\u2010\n(?=([^\\W\\d_]))")
# Ghostscript 10.0 says of a ligature's letters that they are the characters with the same bytes the other way round.
_LIGATURE = "\u6600[\u6600\u6900\u6c00]+"
_SWAPPED_LIGATURE = re.compile(f"(?<=[A-Za-z]){_LIGATURE}|{_LIGATURE}(?=[A-Za-z])")
_UNSWAPPED = {0x6600: "f", 0x6900: "i", 0x6C00: "l"}
# Within a line a soft hyphen between letters is not seen; anywhere else an old font draws its hyphen by it: XK-4711.
_SOFT_HYPHEN = re.compile(r"(?<=[^\W\d_])\xad+(?=[^\W\d_])")


def tidy_page(text: str) -> str:
    """The text of a PDF page as all positions count it: one line end, whole words, accents composed."""
    lines = storable(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    text = "\n".join(line.rstrip(" \t") for line in lines)
    if text.isascii() and "\x02" not in text:
        return text
    whole = _SOFT_HYPHEN.sub("", _TYPESET_BREAK.sub(_joined, _WORD_BREAK.sub("", text)))
    whole = _SWAPPED_LIGATURE.sub(lambda ligature: ligature[0].translate(_UNSWAPPED), whole)
    return normalize("NFC", whole.replace("\xad", "-"))


def _joined(broken: re.Match[str]) -> str:
    """Nothing, but for a name: Jean-Paul, whose second part begins with a capital, keeps its hyphen."""
    return "" if broken[1].islower() else "\u2010"

"""Which way up a page of a PDF is read.

pdfium orders text as it lies on the page that is shown. Where that stands on its head, or runs downwards, it takes the
last word or the last line first.
"""

from collections import Counter
from math import degrees, isclose

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]

_LOOKED_AT = 64
"""Characters that tell which way the text of a page runs."""


def rotation_to_read(page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage) -> int:
    """The rotation, in degrees, with which most of the page's text stands upright; its own if no way is most's."""
    count = text_page.count_chars()
    places = range(0, count, max(1, count // _LOOKED_AT))
    turns = Counter(_quarter_turns(pdfium.FPDFText_GetCharAngle(text_page.raw, place)) for place in places)
    for turn, agreeing in turns.items():
        if turn is not None and agreeing * 2 > turns.total():
            return -turn * 90 % 360
    return int(page.get_rotation())


def _quarter_turns(angle: float) -> int | None:
    """Clockwise; None for text that runs aslant, or of which pdfium does not know how it runs."""
    turns = degrees(angle) / 90
    return round(turns) % 4 if angle >= 0 and isclose(turns, round(turns), abs_tol=0.02) else None

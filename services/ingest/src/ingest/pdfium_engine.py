"""Reading PDFs with pdfium: fast and forgiving, but a hostile file can take the whole process down."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]

from ingest.limits import Limits
from ingest.pdfium_annotations import added_to
from ingest.pdfium_rotation import rotation_to_read
from ingest.verdicts import CannotRead, Refused, Verdict

_LOCKED = frozenset({pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY})
"""By a password; by a certificate or a shop's own scheme."""


def read_pages(source: Path, limits: Limits) -> Iterator[str | None]:
    """The text of each page in turn; None for a page that pdfium cannot read.

    Raises `CannotRead` if pdfium makes nothing of the file, `Refused` if the document is at fault.
    """
    with _open(source) as document:
        count = len(document)
        if count == 0:
            raise CannotRead
        if count > limits.max_pages:
            raise Refused(Verdict.TOO_MANY_PAGES)
        with suppress(pypdfium2.PdfiumError):  # then the fields stay unread, and the pages are not
            document.init_forms()
        for index in range(count):
            yield _page_text(document, index, limits)


def _open(source: Path) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        if error.err_code in _LOCKED:
            raise Refused(Verdict.ENCRYPTED) from None
        raise CannotRead from error


def _page_text(document: pypdfium2.PdfDocument, index: int, limits: Limits) -> str | None:
    try:
        with closing(document[index]) as page, closing(page.get_textpage()) as text_page:
            rotation = rotation_to_read(page, text_page)
            if rotation == page.get_rotation():
                return _text_of(page, text_page, limits)
            page.set_rotation(rotation)
        # How a page lies is settled when it is loaded.
        with closing(document[index]) as page, closing(page.get_textpage()) as text_page:
            return _text_of(page, text_page, limits)
    except pypdfium2.PdfiumError:
        return None


def _text_of(page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage, limits: Limits) -> str:
    if text_page.count_chars() > limits.max_characters:
        raise Refused(Verdict.TOO_MUCH_TEXT)
    text = str(text_page.get_text_range())
    added = added_to(page)
    return "\n\n".join(filter(None, [text.rstrip(), *added])) if added else text

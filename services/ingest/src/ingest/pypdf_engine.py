"""Reading PDFs with pypdf: slow, in plain Python, and it makes sense of some files that pdfium does not."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from pypdf import PageObject, PdfReader
from pypdf.errors import LimitReachedError

from ingest.limits import Limits
from ingest.verdicts import CannotRead, Refused, Verdict

# It quotes the file in its warnings.
logging.getLogger("pypdf").disabled = True


def read_pages(source: Path, limits: Limits, only: Iterable[int] | None = None) -> Iterator[str | None]:
    """The text of each page in turn, or of those asked for, counted from 0; None for a page that pypdf cannot read.

    Raises `CannotRead` if pypdf makes nothing of the file, `Refused` if the document is at fault.
    """
    pages = _open(source, limits)
    for index in range(len(pages)) if only is None else only:
        yield _page_text(pages[index]) if index < len(pages) else None


def _open(source: Path, limits: Limits) -> list[PageObject]:
    try:
        pages = _pages(PdfReader(source), limits)
    except (Refused, MemoryError):
        raise
    except LimitReachedError:
        raise Refused(Verdict.TOO_COMPLEX) from None
    except Exception as error:
        # A damaged file can make it raise anything at all.
        raise CannotRead from error
    if not pages:
        raise CannotRead
    return pages


def _pages(reader: PdfReader, limits: Limits) -> list[PageObject]:
    # Many PDFs are encrypted with an empty password, only to forbid printing.
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused(Verdict.ENCRYPTED)
    if reader.get_num_pages() > limits.max_pages:
        raise Refused(Verdict.TOO_MANY_PAGES)
    return list(reader.pages)


def _page_text(page: PageObject) -> str | None:
    try:
        return page.extract_text()
    except MemoryError:
        raise
    except LimitReachedError:
        raise Refused(Verdict.TOO_COMPLEX) from None
    except Exception:
        return None

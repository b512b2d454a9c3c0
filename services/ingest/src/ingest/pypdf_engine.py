"""Reading PDFs with pypdf: slow, in plain Python, and it makes sense of some files that pdfium does not."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from pypdf import PageObject, PdfReader
from pypdf.errors import LimitReachedError
from pypdf.generic import ArrayObject, DictionaryObject, NumberObject, PdfObject

from ingest.limits import Limits
from ingest.verdicts import CannotRead, Refused, Verdict

# It quotes the file in its warnings and errors. Its modules have loggers of their own, and their level from this one.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def read_pages(source: Path, limits: Limits) -> Iterator[str | None]:
    """The text of each page in turn; None for a page that pypdf cannot read.

    Raises `CannotRead` if pypdf makes nothing of the file, `Refused` if the document is at fault.
    """
    yield from map(_page_text, _open(source, limits))


def reread_pages(source: Path, limits: Limits, only: Iterable[int], *, of: int) -> Iterator[str | None]:
    """The text of the pages with these indexes, counted from 0, in a document of which another engine says its length.

    Raises as `read_pages` does; also `CannotRead` if pypdf finds another length, for then its indexes are others, too.
    """
    pages = _open(source, limits)
    if len(pages) != of:
        raise CannotRead
    for index in only:
        yield _page_text(pages[index])


def _open(source: Path, limits: Limits) -> list[PageObject | None]:
    try:
        pages = _pages(_reader(source), limits)
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


def _reader(source: Path) -> PdfReader:
    try:
        reader = PdfReader(source)
    except NotImplementedError:
        # It opens what a password locks, and nothing that a certificate or a shop's own scheme does.
        raise Refused(Verdict.ENCRYPTED) from None
    # Many PDFs are encrypted with an empty password, only to forbid printing.
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused(Verdict.ENCRYPTED)
    return reader


def _pages(reader: PdfReader, limits: Limits) -> list[PageObject | None]:
    """All pages in their places. pypdf's list closes up where one is broken; in this one, None is in its place."""
    found = iter(list(reader.pages))
    tree = reader.root_object["/Pages"]
    assert isinstance(tree, DictionaryObject)
    pages = [next(found) if is_page else None for is_page in _leaves([tree])]
    if len(pages) > limits.max_pages:
        raise Refused(Verdict.TOO_MANY_PAGES)
    if None in pages and tree["/Count"] != NumberObject(len(pages)):
        # What is broken may have been a branch with any number of pages.
        raise CannotRead
    return pages


def _leaves(nodes: Iterable[PdfObject]) -> Iterator[bool]:
    """For each leaf of the page tree, in order, whether pypdf lists it as a page. It has refused cycles by then."""
    for node in nodes:
        found = node.get_object()
        if not isinstance(found, DictionaryObject) or not found:
            yield False
        elif _kind(found) == "/Pages":
            yield from _leaves(_kids(found))
        else:
            yield _kind(found) == "/Page"


def _kind(node: DictionaryObject) -> str:
    """What pypdf takes a node of the page tree for."""
    if "/Type" in node:
        return str(node["/Type"])
    return "/Pages" if "/Kids" in node else "/Page"


def _kids(branch: DictionaryObject) -> Iterable[PdfObject]:
    kids = branch.get("/Kids", ArrayObject()).get_object()
    return kids if isinstance(kids, ArrayObject) else ()


def _page_text(page: PageObject | None) -> str | None:
    if page is None:
        return None
    try:
        return page.extract_text()
    except MemoryError:
        raise
    except LimitReachedError:
        raise Refused(Verdict.TOO_COMPLEX) from None
    except Exception:
        return None

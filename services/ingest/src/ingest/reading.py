"""From a file to its text."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from ingest.cleaning import tidy_page
from ingest.decoding import decode
from ingest.limits import Limits
from ingest.verdicts import CannotRead, Refused, Verdict

PDF = "application/pdf"
TEXT = frozenset({"text/plain", "text/markdown"})


class Engine(StrEnum):
    """What reads PDFs. What pdfium cannot read is tried with pypdf."""

    PDFIUM = "pdfium"
    PYPDF = "pypdf"


def read_text(raw: bytes, limits: Limits) -> str:
    """The text of a text file. Raises `Refused` if there is none or too much of it."""
    text = decode(raw)
    if len(text) > limits.max_characters:
        raise Refused(Verdict.TOO_MUCH_TEXT)
    if not text.strip():
        raise Refused(Verdict.NO_TEXT)
    return text


def read_pdf(source: Path, engine: Engine, limits: Limits) -> list[str]:
    """The text of each page of a PDF, empty for a page that nobody can read as long as others can be read.

    Raises `Refused` with the reason if the document is damaged, has no text or is over a limit.
    """
    try:
        pages = _with_pdfium(source, limits) if engine is Engine.PDFIUM else _with_pypdf(source, limits)
    except CannotRead:
        if engine is Engine.PDFIUM:
            return read_pdf(source, Engine.PYPDF, limits)
        raise Refused(Verdict.CORRUPT) from None
    if not any(page.strip() for page in pages):
        raise Refused(Verdict.NO_TEXT)
    return pages


def _with_pdfium(source: Path, limits: Limits) -> list[str]:
    from ingest import pdfium_engine

    pages = list(_within(pdfium_engine.read_pages(source, limits), limits))
    unread = [index for index, page in enumerate(pages) if page is None]
    if unread:
        for index, page in zip(unread, _reread(source, limits, unread, of=len(pages)), strict=True):
            pages[index] = page
    return _readable(pages)


def _with_pypdf(source: Path, limits: Limits) -> list[str]:
    from ingest import pypdf_engine

    return _readable(list(_within(pypdf_engine.read_pages(source, limits), limits)))


def _reread(source: Path, limits: Limits, unread: list[int], *, of: int) -> list[str | None]:
    from ingest import pypdf_engine

    try:
        return list(_within(pypdf_engine.reread_pages(source, limits, unread, of=of), limits))
    except CannotRead:
        return [None] * len(unread)


def _within(pages: Iterator[str | None], limits: Limits) -> Iterator[str | None]:
    left = limits.max_characters
    for page in pages:
        left -= len(page or "")
        if left < 0:
            raise Refused(Verdict.TOO_MUCH_TEXT)
        yield None if page is None else tidy_page(page)


def _readable(pages: list[str | None]) -> list[str]:
    if all(page is None for page in pages):
        raise CannotRead
    return [page or "" for page in pages]

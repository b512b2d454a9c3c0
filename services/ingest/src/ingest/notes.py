"""Notes: texts so short that they are one chunk. They need no engine, no splitter, and no process of their own.

docs/decisions/0013 says why that is safe.
"""

from collections.abc import Iterable

from ingest.chunking import Chunked, Span, chunked
from ingest.limits import Limits
from ingest.reading import TEXT, read_text
from ingest.verdicts import Refused


def is_note(media_type: str, size_bytes: int, *, chunk_size: int, chunk_overlap: int) -> bool:
    """Whether a file is a text that is one chunk in any encoding: it has no more characters than bytes."""
    return media_type in TEXT and size_bytes <= chunk_size - chunk_overlap


def read_note(raw: bytes, *, filename: str, limits: Limits) -> Chunked:
    """Raises `Permanent` with a verdict if there is nothing to be read."""
    try:
        text = read_text(raw, limits)
    except Refused as refused:
        raise refused.as_failure() from None
    return chunked(text, _whole, filename=filename)


def _whole(text: str) -> Iterable[Span]:
    """All but the white space around it, as the splitter has it."""
    yield len(text) - len(text.lstrip()), len(text.rstrip())

"""From the texts of a document to its chunks file, and where each chunk lies in it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from contracts.chunks_file import Chunk, encode

from ingest.chunk_rows import ChunkRow, pack
from ingest.extraction import Extracted

Span: TypeAlias = tuple[int, int]
"""Start and end of a piece, in code points of the text it was cut from; the end is exclusive."""

Split: TypeAlias = Callable[[str], Iterable[Span]]
"""Where the pieces of a text lie, in order."""


@dataclass(frozen=True)
class Chunked:
    """What came of a document, and the content of its chunks file."""

    extracted: Extracted
    content: bytes


def chunked(texts: list[str] | str, split: Split, *, filename: str) -> Chunked:
    """All that is kept of a document: of its pages, or of a text file, which is one text without a page."""
    chunks = list(_chunks(texts, split))
    pages = None if isinstance(texts, str) else len(texts)
    encoded = encode(chunks, filename=filename, pages=pages)
    extracted = Extracted(
        pages=pages,
        chunk_count=len(chunks),
        chunks_sha256=encoded.sha256,
        packed_rows=pack(_rows(chunks, encoded.ranges)),
    )
    return Chunked(extracted, encoded.content)


def _chunks(texts: list[str] | str, split: Split) -> Iterator[Chunk]:
    """The chunks of a document, page by page; none of them crosses a page."""
    numbered = [(None, texts)] if isinstance(texts, str) else enumerate(texts, start=1)
    ordinal = 0
    for page, text in numbered:
        for start, end in split(text):
            piece = text[start:end]
            digest = sha256(piece.encode()).hexdigest()
            yield Chunk(ordinal=ordinal, page=page, start=start, end=end, text=piece, sha256=digest)
            ordinal += 1


def _rows(chunks: list[Chunk], ranges: tuple[tuple[int, int], ...]) -> Iterator[ChunkRow]:
    for chunk, (byte_start, byte_end) in zip(chunks, ranges, strict=True):
        yield ChunkRow(chunk.page, chunk.start, chunk.end, byte_start, byte_end, bytes.fromhex(chunk.sha256))

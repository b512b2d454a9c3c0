"""The chunks file: one header line, then one chunk a line, in the order of their ordinals.

The header says where every 64th chunk begins, counted in bytes from the end of the header line, so that a batch can be
read by range without reading what comes before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from pydantic import BaseModel, ConfigDict

BATCH = 64
"""Chunks in a batch: batch k holds the ordinals [64k, 64k + 64)."""


class ChunksHeader(BaseModel):
    """`offsets[k]` is where batch k begins; `size_bytes` is the length of all chunk lines together."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    filename: str
    pages: int | None
    chunk_count: int
    offsets: tuple[int, ...]
    size_bytes: int

    @property
    def batches(self) -> int:
        return len(self.offsets)

    def batch_range(self, batch: int) -> tuple[int, int]:
        """Where a batch begins and ends, in bytes from the end of the header line; the end is exclusive."""
        last = batch + 1 == len(self.offsets)
        return self.offsets[batch], self.size_bytes if last else self.offsets[batch + 1]


class Chunk(BaseModel):
    """A piece of a document.

    `start` and `end` are code points within its page, or within the file where there are no pages.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    ordinal: int
    page: int | None
    start: int
    end: int
    text: str
    sha256: str


@dataclass(frozen=True)
class EncodedChunks:
    """A chunks file ready to be stored. `ranges[i]` is the byte range of chunk i in the whole file, end exclusive."""

    content: bytes
    sha256: str
    ranges: tuple[tuple[int, int], ...]


def encode(chunks: Sequence[Chunk], *, filename: str, pages: int | None) -> EncodedChunks:
    """Write the chunks file of a document; the chunks must come in the order of their ordinals, from 0 on."""
    lines = [chunk.model_dump_json().encode() + b"\n" for chunk in chunks]
    starts = _starts(lines)
    size = sum(map(len, lines))
    header = ChunksHeader(
        filename=filename, pages=pages, chunk_count=len(chunks), offsets=tuple(starts[::BATCH]), size_bytes=size
    )
    first = header.model_dump_json().encode() + b"\n"
    content = first + b"".join(lines)
    ranges = tuple(
        (len(first) + start, len(first) + start + len(line)) for start, line in zip(starts, lines, strict=True)
    )
    return EncodedChunks(content=content, sha256=sha256(content).hexdigest(), ranges=ranges)


def parse_header(line: bytes) -> ChunksHeader:
    """Read the first line. Raises `pydantic.ValidationError` if it is no header."""
    return ChunksHeader.model_validate_json(line)


def parse_chunk(line: bytes) -> Chunk:
    """Read any later line. Raises `pydantic.ValidationError` if it is no chunk."""
    return Chunk.model_validate_json(line)


def parse_chunks(lines: bytes) -> list[Chunk]:
    """Read any number of whole chunk lines."""
    return [parse_chunk(line) for line in lines.splitlines()]


def _starts(lines: Iterable[bytes]) -> list[int]:
    starts, position = [], 0
    for line in lines:
        starts.append(position)
        position += len(line)
    return starts

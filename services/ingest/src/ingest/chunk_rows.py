"""Where each chunk lies, as the reading process hands it over: fixed-size records, cheap for tens of thousands."""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

_RECORD = Struct("<iiiqq32s")
_NO_PAGE = 0


class ChunkRow(NamedTuple):
    """The place of a chunk in its page (or file) and, as a byte range with an exclusive end, in the chunks file."""

    page: int | None
    text_start: int
    text_end: int
    byte_start: int
    byte_end: int
    sha256: bytes


def pack(rows: Iterable[ChunkRow]) -> bytes:
    return b"".join(_RECORD.pack(row.page or _NO_PAGE, *row[1:]) for row in rows)


def unpack(packed: bytes) -> Iterator[ChunkRow]:
    for page, *rest in _RECORD.iter_unpack(packed):
        yield ChunkRow(page or None, *rest)

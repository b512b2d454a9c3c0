"""Reading a batch of chunks by its range, from a file that was checked as a whole."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from chassis.failures import Transient
from chassis.objects import ObjectMissing, ObjectStore
from contracts.chunks_file import Chunk, ChunksHeader, parse_chunks, parse_header
from contracts.objects import chunks_key
from pydantic import ValidationError

from embedder.tables import EmbeddingRun

MISSING = "processing.chunks_missing"
CHANGED = "processing.chunks_changed"
UNREADABLE = "processing.chunks_unreadable"

REMEMBERED = 256
"""Headers of checked files, a few kilobytes each: a file is hashed once a process, not once a batch."""

LONGEST_HEADER = 1024 * 1024


@dataclass(frozen=True)
class _Checked:
    """A file whose bytes are those that `chunked` named; they never change, for a key belongs to one attempt."""

    header: ChunksHeader
    begin: int  # of the first chunk, in bytes


class ChunkFiles:
    """The chunks files, as ingest has written them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._checked: OrderedDict[tuple[str, str], _Checked] = OrderedDict()
        self._checking: dict[tuple[str, str], asyncio.Lock] = {}

    async def batch(self, run: EmbeddingRun, number: int) -> list[Chunk]:
        """The chunks of a batch. Raises `Transient` if the file is not there, or is not the one that was named."""
        key = chunks_key(run.owner_id, run.document_id, run.version, run.attempt)
        try:
            checked = await self._check(key, run.chunks_sha256)
            start, end = checked.header.batch_range(number)
            lines = await self._store.read(key, checked.begin + start, end - start)
        except ObjectMissing as error:
            raise Transient(MISSING, "The chunks of the document are not there.") from error
        return parse_chunks(lines)

    async def _check(self, key: str, digest: str) -> _Checked:
        """Of several batches that come at once, one reads the file."""
        name = (key, digest)
        lock = self._checking.setdefault(name, asyncio.Lock())
        async with lock:
            if name not in self._checked:
                self._checked[name] = await self._read(key, digest)
                while len(self._checked) > REMEMBERED:
                    self._checked.popitem(last=False)
            self._checked.move_to_end(name)
            checked = self._checked[name]
        self._checking.pop(name, None)
        return checked

    async def _read(self, key: str, digest: str) -> _Checked:
        seen, first = sha256(), b""
        async for piece in self._store.open(key):
            seen.update(piece)
            if b"\n" not in first and len(first) <= LONGEST_HEADER:
                first += piece
        line, newline, _ = first.partition(b"\n")
        if seen.hexdigest() != digest or not newline:
            raise Transient(CHANGED, "The chunks of the document are not those that were announced.")
        try:
            return _Checked(parse_header(line), len(line) + 1)
        except ValidationError as error:
            raise Transient(UNREADABLE, "The chunks of the document cannot be read.") from error

"""Reading a batch of chunks by its range, from a file that was checked as a whole."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from chassis.failures import Transient
from chassis.objects import ObjectMissing, ObjectStore
from chassis.together import Together
from contracts.chunks_file import Chunk, ChunksHeader, parse_chunks, parse_header
from contracts.objects import chunks_key
from pydantic import ValidationError

from embedder.repository import Run

MISSING = "processing.chunks_missing"
CHANGED = "processing.chunks_changed"
UNREADABLE = "processing.chunks_unreadable"

REMEMBERED = 256
"""Headers of checked files, a few kilobytes each: a file is hashed once a process, not once a batch."""

AT_ONCE = 1024 * 1024
"""Bytes of a file that are read in one go: some 800 chunks, and in any case the header."""


@dataclass(frozen=True)
class _Checked:
    """A file whose bytes are those that `chunked` named; they never change, for a key belongs to one attempt."""

    header: ChunksHeader
    begin: int  # of the first chunk, in bytes

    def range(self, batch: int) -> tuple[int, int]:
        """Where a batch begins and ends in the file."""
        start, end = self.header.batch_range(batch)
        return self.begin + start, self.begin + end


class ChunkFiles:
    """The chunks files, as ingest has written them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._checked: OrderedDict[tuple[str, str], _Checked] = OrderedDict()
        self._checking: Together[tuple[str, str], tuple[_Checked, bytes]] = Together()

    async def batch(self, run: Run, number: int) -> list[Chunk]:
        """The chunks of a batch. Raises `Transient` if the file is not there, or is not the one that was named."""
        key = chunks_key(run.owner_id, run.document_id, run.version, run.attempt)
        try:
            return parse_chunks(await self._lines(key, run.chunks_sha256, number))
        except ObjectMissing as error:
            raise Transient(MISSING, "The chunks of the document are not there.") from error

    async def _lines(self, key: str, digest: str, number: int) -> bytes:
        """Of several batches that come at once, one reads the file; what it has read of it is enough for most."""
        name, content = (key, digest), b""
        if name not in self._checked:
            self._checked[name], content = await self._checking.get(name, lambda: self._check(key, digest))
            while len(self._checked) > REMEMBERED:
                self._checked.popitem(last=False)
        self._checked.move_to_end(name)
        start, end = self._checked[name].range(number)
        if end <= len(content):
            return content[start:end]
        return await self._store.read(key, start, end - start)

    async def _check(self, key: str, digest: str) -> tuple[_Checked, bytes]:
        """The file, and its first bytes."""
        content = await self._store.read(key, 0, AT_ONCE)
        seen = sha256(content)
        if len(content) == AT_ONCE:
            async for piece in self._store.open(key, start=AT_ONCE):
                seen.update(piece)
        line, newline, _ = content.partition(b"\n")
        if seen.hexdigest() != digest or not newline:
            raise Transient(CHANGED, "The chunks of the document are not those that were announced.")
        try:
            return _Checked(parse_header(line), len(line) + 1), content
        except ValidationError as error:
            raise Transient(UNREADABLE, "The chunks of the document cannot be read.") from error

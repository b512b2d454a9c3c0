"""Taking the parts of an upload: each goes straight into the object store, and is judged alone."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from chassis.finishing import to_the_end
from chassis.ids import uuid7
from chassis.objects import PIECE, ObjectStore
from contracts.documents import RejectedFile
from contracts.objects import About, about_key, raw_key

from gateway import filenames, filetypes
from gateway.errors import TooManyFiles
from gateway.multipart import Multipart, PartHead

FIELD = "files"
WORTH_A_THREAD = 64 * 1024
"""Bytes whose hashing takes longer than the way to a thread and back."""


@dataclass(frozen=True)
class Limits:
    """What one upload may bring."""

    max_file_bytes: int
    max_files: int

    @property
    def max_body_bytes(self) -> int:
        """A body beyond this holds nothing that could be accepted as a whole: parts' headers have their room."""
        return self.max_files * (self.max_file_bytes + 16 * 1024) + 16 * 1024


@dataclass(frozen=True)
class Received:
    """A file that lies in the object store, not yet a document."""

    document_id: UUID
    filename: str
    media_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """What came of one part; `digest` tells it from other content under the same name."""

    outcome: Received | RejectedFile
    digest: str


class _TooLarge(Exception):
    """The file has more bytes than are taken."""


class Intake:
    """Receives the parts of one upload. Without a store nothing is kept: for a call that was answered before."""

    def __init__(self, *, owner: UUID, limits: Limits, store: ObjectStore | None) -> None:
        self._owner = owner
        self._limits = limits
        self._store = store
        self._begun: list[UUID] = []

    @property
    def begun(self) -> list[UUID]:
        """Every document id under which an object was, or may have been, stored."""
        return list(self._begun)

    async def receive(self, form: Multipart) -> list[Part]:
        """All parts, in their order. Raises `TooManyFiles` and `MalformedBody`."""
        parts: list[Part] = []
        while (head := await form.next_part()) is not None:
            if len(parts) == self._limits.max_files:
                raise TooManyFiles(self._limits.max_files)
            parts.append(await self._take(head, form.data()))
        return parts

    async def _take(self, head: PartHead, data: AsyncIterator[bytes]) -> Part:
        filename = filenames.clean(head.filename or "")
        if head.name != FIELD or not head.filename:
            return _refused(head, b"", _no_file(head, filename))
        first = await _first(data)
        if not first:
            return _refused(head, first, RejectedFile(filename=filename, code="upload.empty", detail="It is empty."))
        media_type = filetypes.judge(head=_head(first), filename=filename, declared=head.declared_type)
        if media_type is None:
            return _refused(head, first, _unsupported(filename))
        try:
            received = await self._keep(filename, media_type, first, data)
        except _TooLarge:
            return _refused(head, first, _too_large(filename, self._limits.max_file_bytes))
        return Part(outcome=received, digest=f"{received.sha256} {filename}")

    async def _keep(self, filename: str, media_type: str, first: bytes, data: AsyncIterator[bytes]) -> Received:
        document = uuid7()
        counted = _Counted(first, data, self._limits.max_file_bytes)

        def received() -> Received:
            return Received(
                document_id=document,
                filename=filename,
                media_type=media_type,
                size_bytes=counted.size,
                sha256=counted.hexdigest(),
            )

        if self._store is None:
            async for _ in counted:
                pass
        elif len(first) < filetypes.HEAD_BYTES:
            # All of it is here: both objects are written, and synced, side by side.
            self._begun.append(document)
            content = [piece async for piece in counted]
            await _both(self._put_raw(self._store, document, _all(content)), self._describe(self._store, received()))
        else:
            self._begun.append(document)
            await self._put_raw(self._store, document, aiter(counted))
            await self._describe(self._store, received())
        return received()

    async def _put_raw(self, store: ObjectStore, document: UUID, content: AsyncIterator[bytes]) -> None:
        await store.put(raw_key(self._owner, document), content)

    async def _describe(self, store: ObjectStore, received: Received) -> None:
        about = About(
            filename=received.filename,
            media_type=received.media_type,
            size_bytes=received.size_bytes,
            sha256=received.sha256,
        )
        await store.put(about_key(self._owner, received.document_id), _all([about.model_dump_json().encode()]))


async def discard(store: ObjectStore, owner: UUID, documents: Iterable[UUID]) -> None:
    """Remove what was stored for these ids; to the end, also if the caller is cancelled."""
    await to_the_end(_discard(store, owner, list(documents)))


def fingerprint(parts: Iterable[Part]) -> str:
    """The same for the same parts in the same order alone."""
    return sha256("\n".join(part.digest for part in parts).encode()).hexdigest()


async def _discard(store: ObjectStore, owner: UUID, documents: list[UUID]) -> None:
    keys = [key(owner, document) for document in documents for key in (about_key, raw_key)]
    await asyncio.gather(*(store.delete(key) for key in keys))


class _Counted:
    """The bytes of a file on their way: counted, hashed, and refused beyond the limit.

    They leave in blocks. Each is hashed in a thread while it is being stored, and while the next one comes.
    """

    def __init__(self, first: bytes, rest: AsyncIterator[bytes], most: int) -> None:
        self._waiting = [first]
        self._rest = rest
        self._most = most
        self._hash = sha256()
        self._hashing: asyncio.Future[None] | None = None
        self.size = len(first)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._check()
        waiting = self.size
        async for piece in self._rest:
            self.size += len(piece)
            self._check()
            self._waiting.append(piece)
            waiting += len(piece)
            if waiting >= PIECE:
                yield await self._block()
                waiting = 0
        yield await self._block()
        await self._hashed()

    def _check(self) -> None:
        if self.size > self._most:
            raise _TooLarge

    async def _block(self) -> bytes:
        block = b"".join(self._waiting)
        self._waiting.clear()
        await self._hashed()
        if len(block) < WORTH_A_THREAD:
            self._hash.update(block)
        else:
            self._hashing = asyncio.get_running_loop().run_in_executor(None, self._hash.update, block)
        return block

    async def _hashed(self) -> None:
        if self._hashing is not None:
            await self._hashing


async def _first(data: AsyncIterator[bytes]) -> bytes:
    """Enough to judge by, or all there is."""
    first = bytearray()
    async for piece in data:
        first += piece
        if len(first) >= filetypes.HEAD_BYTES:
            break
    return bytes(first)


def _head(first: bytes) -> bytes:
    """The same bytes of a file, whatever the network made of it."""
    return first[: filetypes.HEAD_BYTES]


async def _all(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _both(*puts: Coroutine[Any, Any, None]) -> None:
    """Until both have ended: nothing is still being written when the first failure is told."""
    for outcome in await asyncio.gather(*puts, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _refused(head: PartHead, first: bytes, refusal: RejectedFile) -> Part:
    told = f"{head.name}\n{head.filename}\n{head.declared_type}".encode(errors="replace")
    return Part(outcome=refusal, digest=f"{refusal.code} {sha256(told + _head(first)).hexdigest()}")


def _no_file(head: PartHead, filename: str) -> RejectedFile:
    if head.name != FIELD:
        return RejectedFile(
            filename=filename, code="upload.unknown_part", detail="Files are taken from parts named files."
        )
    return RejectedFile(filename=filename, code="upload.no_filename", detail="The part has no filename.")


def _unsupported(filename: str) -> RejectedFile:
    return RejectedFile(
        filename=filename,
        code="upload.unsupported_type",
        detail="Content, name and declared type must agree on .pdf, .txt or .md.",
    )


def _too_large(filename: str, most: int) -> RejectedFile:
    return RejectedFile(filename=filename, code="upload.too_large", detail=f"It has more than {most} bytes.")

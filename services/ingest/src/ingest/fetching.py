"""Bytes between the object store and files of our own."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from itertools import count
from pathlib import Path

from chassis.failures import Transient
from chassis.objects import PIECE, ObjectMissing, ObjectStore


async def fetch(store: ObjectStore, key: str, *, target: Path, digest: str) -> None:
    """Copy an object to a file. Raises `Transient` if it is not there, or not the bytes that were accepted."""
    seen = sha256()
    with await asyncio.to_thread(target.open, "wb") as file:

        def take(piece: bytes) -> None:
            seen.update(piece)
            file.write(piece)

        async for piece in _present(store, key):
            await asyncio.to_thread(take, piece)
    _check(seen.hexdigest(), digest)


async def fetch_small(store: ObjectStore, key: str) -> bytes:
    """An object that fits in memory. Raises `Transient` if it is not there."""
    return b"".join([piece async for piece in _present(store, key)])


async def fetch_accepted(store: ObjectStore, key: str, *, size: int, digest: str) -> bytes:
    """An object of so many bytes. Raises `Transient` if it is not there, or not the bytes that were accepted."""
    content = b"".join([piece async for piece in _present(store, key, end=size)])
    _check(sha256(content).hexdigest(), digest)
    return content


async def store_file(store: ObjectStore, key: str, *, source: Path) -> None:
    """Copy a file to an object."""
    await store.put(key, _pieces(source))


async def store_small(store: ObjectStore, key: str, content: bytes) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield content

    await store.put(key, once(), size=len(content))


async def _present(store: ObjectStore, key: str, *, end: int | None = None) -> AsyncIterator[bytes]:
    try:
        async for piece in store.open(key, end=end):
            yield piece
    except ObjectMissing:
        raise Transient("storage.missing", "The stored file is not there.") from None


def _check(seen: str, digest: str) -> None:
    if seen != digest:
        raise Transient("storage.corrupt", "The stored file is not the one that was accepted.")


async def _pieces(source: Path) -> AsyncIterator[bytes]:
    """Each is one trip to a thread, for a small file the only one."""

    def read(start: int) -> bytes:
        with source.open("rb") as file:
            file.seek(start)
            return file.read(PIECE)

    for start in count(step=PIECE):
        piece = await asyncio.to_thread(read, start)
        yield piece
        if len(piece) < PIECE:
            return

"""Bytes between the object store and files of our own."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
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
    if seen.hexdigest() != digest:
        raise Transient("storage.corrupt", "The stored file is not the one that was accepted.")


async def fetch_small(store: ObjectStore, key: str) -> bytes:
    """An object that fits in memory. Raises `Transient` if it is not there."""
    return b"".join([piece async for piece in _present(store, key)])


async def stored(store: ObjectStore, key: str, *, source: Path) -> None:
    """Copy a file to an object."""
    size = (await asyncio.to_thread(source.stat)).st_size
    await store.put(key, _pieces(source), size=size)


async def _present(store: ObjectStore, key: str) -> AsyncIterator[bytes]:
    try:
        async for piece in store.open(key):
            yield piece
    except ObjectMissing:
        raise Transient("storage.missing", "The stored file is not there.") from None


async def _pieces(source: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(source.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece

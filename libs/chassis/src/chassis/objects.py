"""The object store: whole objects under keys, visible whole or not at all, on the disk once `put` has returned."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from chassis.failures import Misconfigured
from chassis.settings import ObjectStoreSettings

SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")

PIECE = 1024 * 1024
"""Bytes read or written at a time: larger ones cost memory, smaller ones cost trips through the thread pool."""

ABANDONED = timedelta(hours=1)
"""After so long without a write, what a `put` left behind belongs to a process that died."""


class ObjectMissing(Exception):
    """There is no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no object {key}")
        self.key = key


class BadKey(ValueError):
    """Not a key: keys are computed from ids, and never need more than letters, digits, dots, dashes and slashes."""

    def __init__(self) -> None:
        super().__init__("not an object key")


@dataclass(frozen=True)
class StoredObject:
    """What is known of an object without reading it. `modified` is aware."""

    key: str
    size: int
    modified: datetime


class ObjectStore(Protocol):
    """Missing objects are `ObjectMissing`; trouble is `Transient` or `Misconfigured`, code `storage.…`."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        """Store what `chunks` yields; replaces what was there. If anything goes wrong, nothing has changed.

        With `size` given, anything else than exactly so many bytes is refused with `ValueError`.
        """
        ...

    def open(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to (not including) `end`, in pieces."""
        ...

    async def stat(self, key: str) -> StoredObject | None: ...

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Exactly those bytes, fewer where the object ends."""
        ...

    async def delete(self, key: str) -> bool:
        """True if it was there. Gone for good when this returns."""
        ...

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Every object whose key begins with `prefix`, in no particular order."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """How many there were. Never all of them: an empty prefix is refused."""
        ...

    async def sweep(self) -> int:
        """Remove what interrupted puts left behind; how many there were."""
        ...

    async def check(self) -> str | None:
        """For readiness: what is wrong with the store, or None."""
        ...


def checked_key(key: str) -> str:
    """The key itself, if it is one; `BadKey` otherwise."""
    if len(key) > 512 or not all(SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise BadKey
    return key


def checked_prefix(prefix: str) -> str:
    """A non-empty beginning of keys."""
    whole = prefix.removesuffix("/")
    checked_key(whole)
    return prefix


async def next_piece(chunks: AsyncIterator[bytes]) -> bytes:
    """What is worth a trip through a thread pool: at least `PIECE` bytes, fewer only at the end, none after it."""
    waiting = bytearray()
    async for chunk in chunks:
        if not waiting and len(chunk) >= PIECE:
            return chunk  # as it is: no copy
        waiting += chunk
        if len(waiting) >= PIECE:
            break
    return bytes(waiting)


def check_size(came: int, announced: int | None) -> None:
    """Raises `ValueError` if another size was announced."""
    if announced is not None and came != announced:
        raise ValueError(f"{came} bytes came, {announced} were announced")


def open_store(settings: ObjectStoreSettings) -> ObjectStore:
    """The store that the settings name. Connects to nothing yet (`check` does), and loads no client but its own."""
    scheme, _, rest = settings.object_store.partition("://")
    if scheme == "file":
        from chassis.local_files import LocalFiles

        return LocalFiles(Path(unquote(rest)))
    if not (settings.s3_endpoint and settings.s3_access_key and settings.s3_secret_key):
        raise Misconfigured(
            "storage.misconfigured", "s3:// needs DOCQA_S3_ENDPOINT, DOCQA_S3_ACCESS_KEY and DOCQA_S3_SECRET_KEY."
        )
    from chassis.s3_files import S3Files

    return S3Files(
        bucket=rest,
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=settings.s3_secure,
    )

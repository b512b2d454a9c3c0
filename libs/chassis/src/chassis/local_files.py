"""Objects as files below one folder.

A put writes a new file, syncs it, gives it its name and syncs the folder: a process or a machine that dies at any point
leaves the old object or the new one. Where files must have a name while they are written, it leaves a part for `sweep`.
"""

import asyncio
import errno
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from chassis.disks import is_full
from chassis.failures import Misconfigured, Transient
from chassis.finishing import to_the_end
from chassis.new_file import NewFile, can_be_nameless, sync_folder
from chassis.objects import (
    ABANDONED,
    PIECE,
    ObjectMissing,
    StoredObject,
    check_size,
    checked_key,
    checked_prefix,
    next_piece,
)

T = TypeVar("T")

TEMPORARY = ".incoming"
"""Below the root, so that renaming stays within one file system; no key begins with a dot."""

THREADS = 4

FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class LocalFiles:
    """The object store on a local folder, which is made if it is not there."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow a link that is made later
        self._incoming = self._root / TEMPORARY
        self._nameless: bool | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="objects")

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        target = self._path(key)
        first = await next_piece(chunks)
        if len(first) < PIECE:
            check_size(len(first), size)
            await to_the_end(self._in_thread(lambda: self._new_file(target).whole(first)))
        else:
            put = await self._in_thread(lambda: self._new_file(target))
            await self._put_large(put, first, chunks, size)

    async def open(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        path = self._path(key)
        left = sys.maxsize if end is None else max(0, end - start)
        file, piece = await self._opened(key, lambda: _begin(path, start, left))
        try:
            while piece:
                yield piece
                left -= len(piece)
                if file is None or not left:
                    return
                piece = await self._in_thread(partial(file.read, min(PIECE, left)))
        finally:
            if file is not None:
                file.close()

    async def stat(self, key: str) -> StoredObject | None:
        path = self._path(key)
        return await self._in_thread(lambda: _stat(path, key))

    async def read(self, key: str, start: int, length: int) -> bytes:
        path = self._path(key)

        def read() -> bytes:
            with _open_at(path, start) as file:
                return file.read(max(0, length))

        return await self._opened(key, read)

    async def delete(self, key: str) -> bool:
        path = self._path(key)
        return await to_the_end(self._in_thread(lambda: _remove(path, self._root)))

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        checked_prefix(prefix)
        for key in await self._in_thread(lambda: list(self._keys(prefix))):
            if (found := await self.stat(key)) is not None:
                yield found

    async def delete_prefix(self, prefix: str) -> int:
        removed = 0
        async for found in self.list(prefix):
            removed += await self.delete(found.key)
        return removed

    async def sweep(self) -> int:
        before = time.time() - ABANDONED.total_seconds()
        return await self._in_thread(lambda: _sweep(self._incoming, before))

    async def check(self) -> str | None:
        try:
            await self._in_thread(self._try_writing)
        except (Transient, Misconfigured) as failure:
            return failure.detail
        return None

    def _try_writing(self) -> None:
        """A folder that cannot be written is found before the first upload."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        probe = self._incoming / f"check-{uuid4().hex}"
        try:
            probe.write_bytes(b"docqa")
        finally:
            probe.unlink(missing_ok=True)

    def _new_file(self, target: Path) -> NewFile:
        if self._nameless is None:
            self._nameless = can_be_nameless(self._incoming)
        return NewFile(self._temporary(), target, self._root, nameless=self._nameless)

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _keys(self, prefix: str) -> Iterator[str]:
        """Keys by walking the deepest folder that the prefix names."""
        folder = self._root / prefix.rpartition("/")[0]
        for path, folders, names in os.walk(folder, onerror=_unless_gone):
            folders[:] = [name for name in folders if name != TEMPORARY]
            inner = Path(path).relative_to(self._root)
            yield from (key for name in names if (key := (inner / name).as_posix()).startswith(prefix))

    def _temporary(self) -> Path:
        return self._incoming / uuid4().hex

    async def _put_large(self, put: NewFile, first: bytes, rest: AsyncIterator[bytes], size: int | None) -> None:
        written, piece = 0, first
        try:
            while piece:
                written += len(piece)
                await to_the_end(self._in_thread(partial(put.write, piece)))
                piece = await next_piece(rest)
            check_size(written, size)
            await to_the_end(self._in_thread(put.keep))
        except BaseException:
            await to_the_end(self._in_thread(put.drop))
            raise

    async def _opened(self, key: str, use: Callable[[], T]) -> T:
        try:
            return await self._in_thread(use)
        except (FileNotFoundError, IsADirectoryError):
            raise ObjectMissing(key) from None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def run() -> T:
            with _failures():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)


def _unless_gone(error: OSError) -> None:
    """A folder that cannot be read is not an empty one: somebody may be proving that nothing is left."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


@contextmanager
def _failures() -> Iterator[None]:
    """Which kind of failure the file system's word is; a missing file is left to the caller."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        if is_full(error):
            raise Misconfigured("storage.full", f"The object store is full ({reason}).") from error
        if error.errno in FORBIDDEN:
            raise Misconfigured("storage.misconfigured", f"The object store cannot be used ({reason}).") from error
        raise Transient("storage.unavailable", f"The object store does not work ({reason}).") from error


def _begin(path: Path, start: int, most: int) -> tuple[BinaryIO | None, bytes]:
    """The first piece, and the file if it may have another one."""
    file = _open_at(path, start)
    wanted = min(PIECE, most)
    try:
        piece = file.read(wanted)
    except BaseException:
        file.close()
        raise
    if len(piece) == wanted < most:
        return file, piece
    file.close()
    return None, piece


def _open_at(path: Path, start: int) -> BinaryIO:
    try:
        file = path.open("rb")
    except NotADirectoryError:
        raise FileNotFoundError from None  # below another object there is none
    file.seek(start)
    return file


def _stat(path: Path, key: str) -> StoredObject | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not path.is_file():
        return None
    return StoredObject(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _remove(path: Path, root: Path) -> bool:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    sync_folder(path.parent)
    for folder in path.parents:
        if folder == root:
            break
        try:
            folder.rmdir()
        except OSError:
            break
    return True


def _sweep(incoming: Path, before: float) -> int:
    removed = 0
    for temporary in incoming.glob("*"):
        with suppress(FileNotFoundError):
            if temporary.stat().st_mtime < before:
                temporary.unlink()
                removed += 1
    return removed

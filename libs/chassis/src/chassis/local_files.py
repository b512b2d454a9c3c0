"""Objects as files below one folder.

A put writes a temporary file beside nothing, syncs it, renames it into its place and syncs the folder: a process or a
machine that dies at any point leaves the old object or the new one, and at worst a temporary file for `sweep`.
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

from chassis.failures import Misconfigured, Transient
from chassis.finishing import to_the_end
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

MOVES = 100
"""Tries to rename into a folder that others remove as empty at the same time; two are seldom needed."""

FULL = {errno.ENOSPC, errno.EDQUOT}

FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class LocalFiles:
    """The object store on a local folder, which is made if it is not there."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow a link that is made later
        self._incoming = self._root / TEMPORARY
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="objects")

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        put = _Put(self._temporary(), self._path(key), self._root)
        first = await next_piece(chunks)
        if len(first) < PIECE:
            check_size(len(first), size)
            await to_the_end(self._in_thread(lambda: put.whole(first)))
        else:
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
            await self._in_thread(lambda: _try_writing(self._incoming))
        except (Transient, Misconfigured) as failure:
            return failure.detail
        return None

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _keys(self, prefix: str) -> Iterator[str]:
        """Keys by walking the deepest folder that the prefix names."""
        folder = self._root / prefix.rpartition("/")[0]
        for path, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name != TEMPORARY]
            inner = Path(path).relative_to(self._root)
            yield from (key for name in names if (key := (inner / name).as_posix()).startswith(prefix))

    def _temporary(self) -> Path:
        return self._incoming / uuid4().hex

    async def _put_large(self, put: "_Put", first: bytes, rest: AsyncIterator[bytes], size: int | None) -> None:
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


class _Put:
    """One object on its way to its place. Its methods block: each is worth one trip to a thread."""

    def __init__(self, temporary: Path, target: Path, root: Path) -> None:
        self._temporary = temporary
        self._target = target
        self._root = root
        self._file: BinaryIO | None = None

    def whole(self, content: bytes) -> None:
        """All of it at once."""
        try:
            self.write(content)
            self.keep()
        except BaseException:
            self.drop()
            raise

    def write(self, piece: bytes) -> None:
        if self._file is None:
            self._file = _create(self._temporary)
        _write(self._file, piece)

    def keep(self) -> None:
        """What was written is on the disk and in its place."""
        assert self._file is not None
        with self._file as file:
            os.fsync(file.fileno())
        _move(self._temporary, self._target, self._root)

    def drop(self) -> None:
        if self._file is not None:
            self._file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def _failures() -> Iterator[None]:
    """Which kind of failure the file system's word is; a missing file is left to the caller."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        if error.errno in FULL:
            raise Transient("storage.full", f"The object store is full ({reason}).") from error
        if error.errno in FORBIDDEN:
            raise Misconfigured("storage.misconfigured", f"The object store cannot be used ({reason}).") from error
        raise Transient("storage.unavailable", f"The object store does not work ({reason}).") from error


def _create(temporary: Path) -> BinaryIO:
    try:
        return temporary.open("wb", buffering=0)
    except FileNotFoundError:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        return temporary.open("wb", buffering=0)


def _write(file: BinaryIO, piece: bytes) -> None:
    """All of it: where a disk gets full, a call takes what still fits, and only the next one fails."""
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]


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


def _move(temporary: Path, target: Path, root: Path) -> None:
    """Renames into place. A folder may be removed as empty between its making and the rename: then it is made again."""
    for _ in range(MOVES):
        try:
            temporary.rename(target)
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                _make_folders(target.parent, root)
        else:
            _sync_folder(target.parent)
            return
    raise OSError(errno.ESTALE, "the folders of the object are removed again and again")


def _make_folders(folder: Path, root: Path) -> None:
    """Makes what is missing, and syncs the folders that got a new entry."""
    if folder.is_dir():
        return
    if folder != root:
        _make_folders(folder.parent, root)
        with suppress(FileExistsError):
            folder.mkdir()
        _sync_folder(folder.parent)
    else:
        folder.mkdir(parents=True, exist_ok=True)


def _remove(path: Path, root: Path) -> bool:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    _sync_folder(path.parent)
    for folder in path.parents:
        if folder == root:
            break
        try:
            folder.rmdir()
        except OSError:
            break
    return True


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # removed as empty meanwhile, and with it what was to be synced
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(incoming: Path, before: float) -> int:
    removed = 0
    for temporary in incoming.glob("*"):
        with suppress(FileNotFoundError):
            if temporary.stat().st_mtime < before:
                temporary.unlink()
                removed += 1
    return removed


def _try_writing(incoming: Path) -> None:
    """A folder that cannot be written is found before the first upload."""
    probe = incoming / f"check-{uuid4().hex}"
    with _create(probe) as file:
        file.write(b"docqa")
    probe.unlink()

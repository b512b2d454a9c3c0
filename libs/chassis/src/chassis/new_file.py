"""A file that gets its name when it is whole.

Until then it has none, where the file system knows such files (Linux's, but not NFS): whoever dies while writing it, by
whatever death, leaves nothing. Elsewhere it is written under a temporary name, as it is where it replaces another.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

MOVES = 100
"""Tries to come into a folder that others remove as empty at the same time; two are seldom needed."""

_NO_SUCH_FILES = {errno.EOPNOTSUPP, errno.EISDIR}
"""What a file system, or a kernel, answers that knows no files without a name."""


class NewFile:
    """Content on its way to `target`, below `root`. The methods block.

    `temporary` is where it is, if it must be somewhere; that has to be in the same file system.
    """

    def __init__(self, temporary: Path, target: Path, root: Path) -> None:
        self._temporary = temporary
        self._target = target
        self._root = root
        self._file: BinaryIO | None = None
        self._is_named = False

    def whole(self, content: bytes) -> None:
        """All of it at once."""
        try:
            self.write(content)
            self.keep()
        except BaseException:
            self.drop()
            raise

    def write(self, piece: bytes) -> None:
        """All of it: where a disk gets full, a call takes what still fits, and only the next one fails."""
        if self._file is None:
            self._file = self._open()
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) :]

    def keep(self) -> None:
        """What was written is on the disk and in its place."""
        assert self._file is not None
        with self._file as file:
            os.fsync(file.fileno())
            if not self._is_named:
                try:
                    self._into_place(lambda: _link(file, self._target))
                except FileExistsError:  # only a rename replaces
                    _link(file, self._temporary)
                else:
                    return
        self._into_place(lambda: self._temporary.rename(self._target))

    def drop(self) -> None:
        """Nothing is left of it."""
        if self._file is not None:
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        for attempt in range(2):
            try:
                return self._without_name() or self._with_name()
            except FileNotFoundError:
                if attempt:
                    raise
                self._temporary.parent.mkdir(parents=True, exist_ok=True)
        raise AssertionError("returns or raises")

    def _without_name(self) -> BinaryIO | None:
        if not hasattr(os, "O_TMPFILE"):
            return None
        try:
            descriptor = os.open(self._temporary.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        except OSError as error:
            if error.errno in _NO_SUCH_FILES:
                return None
            raise
        return os.fdopen(descriptor, "wb", buffering=0)

    def _with_name(self) -> BinaryIO:
        self._is_named = True
        return self._temporary.open("wb", buffering=0)

    def _into_place(self, step: Callable[[], object]) -> None:
        """A folder may be removed as empty between its making and the step: then it is made again."""
        for _ in range(MOVES):
            try:
                step()
            except FileNotFoundError:
                with suppress(FileNotFoundError):
                    _make_folders(self._target.parent, self._root)
            else:
                sync_folder(self._target.parent)
                return
        raise OSError(errno.ESTALE, "the folders of the object are removed again and again")


def sync_folder(folder: Path) -> None:
    """Its entries are on the disk."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # removed as empty meanwhile, and with it what was to be synced
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(file: BinaryIO, path: Path) -> None:
    descriptor = file.fileno()
    # With a folder to start from, Python asks the kernel to follow the link, though no folder is needed here.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)


def _make_folders(folder: Path, root: Path) -> None:
    """Makes what is missing, and syncs the folders that got a new entry."""
    if folder.is_dir():
        return
    if folder != root:
        _make_folders(folder.parent, root)
        with suppress(FileExistsError):
            folder.mkdir()
        sync_folder(folder.parent)
    else:
        folder.mkdir(parents=True, exist_ok=True)

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
from uuid import uuid4

from chassis.disks import is_full

MOVES = 100
"""Tries to come into a folder that others remove as empty at the same time; two are seldom needed."""


def can_be_nameless(folder: Path) -> bool:
    """Whether a file without a name can be made here, and named afterwards. Raises `OSError` where the disk is full."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f"check-{uuid4().hex}"
    try:
        with _without_name(folder) as file:
            _link(file, name)
        name.unlink()
    except OSError as error:
        # Whatever else it is: with names it works everywhere.
        if is_full(error):
            raise
        return False
    return True


class NewFile:
    """Content on its way to `target`, below `root`. The methods block.

    `temporary` is where it is if it must be somewhere, in the same file system; `nameless` is what
    `can_be_nameless` says of that folder.
    """

    def __init__(self, temporary: Path, target: Path, root: Path, *, nameless: bool) -> None:
        self._temporary = temporary
        self._target = target
        self._root = root
        self._nameless = nameless
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
            if self._nameless:
                try:
                    self._into_place(lambda: _link(file, self._target))
                except FileExistsError:  # only a rename replaces
                    _link(file, self._temporary)
                else:
                    return
        self._into_place(lambda: self._temporary.rename(self._target))

    def drop(self) -> None:
        """Nothing is left of it."""
        try:
            if self._file is not None:
                self._file.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        try:
            return self._create()
        except FileNotFoundError:
            self._temporary.parent.mkdir(parents=True, exist_ok=True)
            return self._create()

    def _create(self) -> BinaryIO:
        if self._nameless:
            return _without_name(self._temporary.parent)
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


def _without_name(folder: Path) -> BinaryIO:
    return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb", buffering=0)


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

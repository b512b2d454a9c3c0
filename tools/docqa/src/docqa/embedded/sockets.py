"""A short private folder for a Unix socket, whose path may have no more than 107 bytes."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from docqa.embedded.failures import PostgresUnavailable

LONGEST_PATH = 107
SOCKET_NAME = ".s.PGSQL.5432.lock"


def short_folder(owner_folder: Path) -> Path:
    """The same folder every time for the same `owner_folder`, so that a killed server leaves nothing new behind."""
    digest = hashlib.sha256(os.fsencode(owner_folder.resolve())).hexdigest()[:12]
    name = f"docqa-{os.geteuid()}-{digest}"
    tried = []
    for parent in _candidates():
        folder = parent / name
        if len(os.fsencode(folder / SOCKET_NAME)) > LONGEST_PATH:
            tried.append(f"{parent} (its name is too long)")
        elif _is_ours(folder):
            return folder
        else:
            tried.append(f"{parent} (not writable, or {name} there belongs to somebody else)")
    raise PostgresUnavailable(
        f"a socket needs a folder whose path is shorter than {LONGEST_PATH - len(SOCKET_NAME) - len(name)} bytes; "
        f"tried {', '.join(tried)}. Set TMPDIR to a short folder of your own"
    )


def _candidates() -> list[Path]:
    # The runtime folder last: it is taken away when its user logs out, and a stack may go on without a terminal.
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    last = [Path(runtime)] if runtime else []
    return list(dict.fromkeys([Path(tempfile.gettempdir()), Path("/tmp"), *last]))  # noqa: S108


def _is_ours(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700

"""Starts one program so that it cannot outlive its parent, and as root on request as somebody else.

Run as a script by its path (`python -I -S spawn.py …`), never imported by what it starts: it becomes the program by
`execv`. Only the standard library's leanest parts are loaded, because every child pays for them.
"""

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
SOMEBODY = 1000  # any id but 0: inside its namespace the program must not find itself to be root

NAMESPACE_FORBIDDEN = 77
PROGRAM_MISSING = 127
PARENT_GONE = 78


def die_with_parent(signal: int, parent: int) -> None:
    """Has the kernel send `signal` when the thread that started this process ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request was made
        os._exit(PARENT_GONE)


def become_somebody() -> None:
    """Enters a user namespace in which root's files belong to an ordinary user, and so does this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{SOMEBODY} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{SOMEBODY} {group} 1", encoding="ascii")


def main(arguments: list[str]) -> None:
    signal, parent, identity, program, *rest = arguments
    if identity == "somebody":
        try:
            become_somebody()
        except OSError as error:
            sys.stderr.write(f"user namespace refused: {error}\n")
            sys.exit(NAMESPACE_FORBIDDEN)
    if sys.platform == "linux":  # after the namespace, which would clear it
        die_with_parent(int(signal), int(parent))
    try:
        os.execv(program, [program, *rest])  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error}\n")
        sys.exit(PROGRAM_MISSING)


if __name__ == "__main__":
    main(sys.argv[1:])

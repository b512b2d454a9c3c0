"""Processes by their number."""

import os


def exists(pid: int) -> bool:
    """Whether there is a process of that number here: anybody's, and one that has ended but was not waited for, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Is it the disk that is full?"""

import errno

_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: OSError) -> bool:
    """Whether the file system, or somebody's share of it, has no room left."""
    return error.errno in _FULL

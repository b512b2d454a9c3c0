"""Ending the process, when going on would only look alive."""

import os
import signal
import threading
from collections.abc import Callable

import structlog

End = Callable[[str], None]
"""Ends the process; told why."""

STOP_SECONDS = 25  # below the 30 s that a supervisor waits before it kills
FAILED = 70  # EX_SOFTWARE

log = structlog.stdlib.get_logger(__name__)
failed = threading.Event()


def end_process(reason: str) -> None:
    """Stop in order if that is still possible, and without order if it is not; the exit code is `FAILED` either way.

    Whoever says it first is heard: what stands still is found again while requests under way are waited for.
    """
    if failed.is_set():
        return
    log.critical("ending the process", reason=reason)
    failed.set()
    last = threading.Timer(STOP_SECONDS, os._exit, [FAILED])
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)

"""What the broker's client has to say, once in a while: while a broker is away it says it a hundred times a second."""

import logging
import time
from collections.abc import Callable

CLIENT = "aiokafka"
SECONDS = 30.0


class OnceInAWhile(logging.Filter):
    """Lets each message through once in so many seconds, whatever its arguments, and counts the others."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}
        self._silenced: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        said, now = (record.name, str(record.msg)), self._clock()
        if now < self._until.get(said, now):
            self._silenced[said] = self._silenced.get(said, 0) + 1
            return False
        self._until[said] = now + self._seconds
        if silenced := self._silenced.pop(said, 0):
            record.msg = f"{record.msg} (and {silenced} times more since it was said last)"
        return True


_quiet = OnceInAWhile()


def quieten() -> None:
    """From now on. A logger's filter does not hold for those below it: each gets it. Harmless twice."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == CLIENT:
            logging.getLogger(name).addFilter(_quiet)

"""What the broker's client has to say, once in a while: while a broker is away it says it every second."""

import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaError

SECONDS = 30.0

log = structlog.stdlib.get_logger(__name__)


class Complaints:
    """Hears a client's complaints; tells each kind once in so many seconds, and how many there were meanwhile."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}
        self._silenced: dict[str, int] = {}

    def __call__(self, error: KafkaError) -> None:
        kind, now = error.name(), self._clock()
        if now < self._until.get(kind, now):
            self._silenced[kind] = self._silenced.get(kind, 0) + 1
            return
        self._until[kind] = now + self._seconds
        log.warning("trouble with the broker", error=kind, detail=error.str(), before=self._silenced.pop(kind, 0))

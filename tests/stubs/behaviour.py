"""How a stub provider behaves, and what it has seen."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Literal

Fault = Literal["hang", "html", "cut", "drip", "wrong_dimension", "wrong_count", "nan", "empty", "not_json", "no_end"]


@dataclass(frozen=True)
class Behaviour:
    """One way to answer. Without fault or status: after `delay` seconds, properly."""

    delay: float = 0.0
    jitter: float = 0.0
    """Seconds at most that are added to the delay, another part of them each time."""
    error_rate: float = 0.0
    """The share of calls that are answered with a 500."""
    hold: threading.Event | None = None
    """Answers only once this is set."""
    between: float = 0.0
    """Seconds between two pieces of a streamed answer."""
    status: int | None = None
    says: str = "as you asked"
    """In an error of that status."""
    retry_after: str | None = None
    fault: Fault | None = None
    packs: bool = True
    """Gives vectors in base64 if asked to; some servers do not."""
    answer: str = "The first passage says so [1]."
    pieces: int = 4


@dataclass
class Seen:
    """What came in, safe to read from another thread."""

    calls: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    texts: list[str] = field(default_factory=list)
    texts_per_call: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """All but what is in flight."""
        self.calls, self.most_in_flight = 0, self.in_flight
        self.texts.clear()
        self.texts_per_call.clear()
        self.prompts.clear()


class Script:
    """What is answered next: the queued behaviours first, each once, then the usual one, for ever."""

    def __init__(self) -> None:
        self.usual = Behaviour()
        self.seen = Seen()
        self.chance = Random(1)
        self._queued: list[Behaviour] = []
        self._lock = threading.Lock()

    def then(self, *behaviours: Behaviour) -> None:
        with self._lock:
            self._queued.extend(behaviours)

    def reset(self) -> None:
        """As new: calls that are still in flight are those of somebody else, who has stopped listening."""
        with self._lock:
            self.usual, self._queued, self.seen = Behaviour(), [], Seen()

    def forget(self) -> None:
        """What was seen, but for what is in flight."""
        with self._lock:
            self.seen.forget()

    @contextmanager
    def call(self) -> Iterator[Behaviour]:
        """How to answer one that has arrived; it is in flight, of those it arrived among, until the block ends."""
        with self._lock:
            seen = self.seen
            seen.calls += 1
            seen.in_flight += 1
            seen.most_in_flight = max(seen.most_in_flight, seen.in_flight)
            behaviour = self._queued.pop(0) if self._queued else self.usual
        try:
            yield behaviour
        finally:
            with self._lock:
                seen.in_flight -= 1

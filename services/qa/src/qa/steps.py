"""How long each step of an answer took."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from chassis.metrics import ASK_SECONDS


class Steps:
    """Milliseconds by step, as answers show them; each also a sample of `docqa_ask_step_seconds`.

    A step that happens twice (a second retrieval) shows the sum.
    """

    def __init__(self) -> None:
        self._began = perf_counter()
        self._milliseconds: dict[str, float] = {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self._note(step, perf_counter() - began)

    def since_start(self, step: str) -> None:
        """Note how long after the question came something happened."""
        self._note(step, perf_counter() - self._began)

    @property
    def milliseconds(self) -> dict[str, float]:
        return {step: round(taken, 2) for step, taken in self._milliseconds.items()}

    def _note(self, step: str, seconds: float) -> None:
        ASK_SECONDS.labels(step).observe(seconds)
        self._milliseconds[step] = self._milliseconds.get(step, 0.0) + seconds * 1000

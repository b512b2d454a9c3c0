"""Ours and the bare loop in turn: what drifts on a machine drifts for both."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.series import Series

Measured = Callable[[], Awaitable[float]]
"""Does the work once and gives the figure: seconds, or a rate."""

REPETITIONS = 5
STEADY = 0.20
"""A run whose bare loop spreads by more is thrown away: the machine was not the same for all of it."""
RUNS = 3
"""By default; of none that was steady, the steadiest one is shown."""


@dataclass(frozen=True)
class Comparison:
    """What a run gave. `thrown_away` counts the runs before it."""

    ours: Series
    bare: Series
    thrown_away: int

    @property
    def note(self) -> str:
        if self.bare.spread > STEADY:
            return f"not steady: the bare loop spread by {self.bare.spread:.0%}"
        if self.thrown_away:
            return f"{self.thrown_away} run{'s' if self.thrown_away > 1 else ''} thrown away"
        return ""


async def compare(
    bench: Bench, ours: Measured, bare: Measured, *, what: str, repetitions: int = REPETITIONS
) -> Comparison:
    """Warm up, then measure both in turn; again if the bare loop was not steady. The steadiest run counts."""
    best: Comparison | None = None
    for made in range(bench.runs):
        of_ours, of_bare = await _run(bench, ours, bare, what=what, repetitions=repetitions)
        if best is None or of_bare.spread < best.bare.spread:
            best = Comparison(of_ours, of_bare, thrown_away=made)
        if of_bare.spread <= STEADY:
            break
        bench.tell.notice(f"{what}: thrown away, the bare loop spread by {of_bare.spread:.0%}")
    assert best is not None, "runs are counted from 1"
    return best


async def _run(bench: Bench, ours: Measured, bare: Measured, *, what: str, repetitions: int) -> tuple[Series, Series]:
    with bench.tell.step(f"{what}: warm-up"):
        await bare()
        await ours()
    of_ours, of_bare = list[float](), list[float]()
    for number in range(repetitions):
        with bench.tell.step(f"{what}: {number + 1} of {repetitions}"):
            # Neither is always the one that comes after the other.
            for mine, kept in ((bare, of_bare), (ours, of_ours))[:: 1 if number % 2 else -1]:
                kept.append(await mine())
    return Series(tuple(of_ours)), Series(tuple(of_bare))

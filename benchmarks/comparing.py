"""Ours and the bare loop in turn: what drifts on a machine drifts for both."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.series import Series
from benchmarks.telling import Teller

Measured = Callable[[], Awaitable[float]]
"""Does the work once and gives the figure: seconds, or a rate."""

REPETITIONS = 5
STEADY = 0.20
"""A run whose bare loop spreads by more is thrown away: the machine was not the same for all of it."""
RUNS = 3


@dataclass(frozen=True)
class Comparison:
    """What a run gave. `thrown_away` counts the runs before it."""

    ours: Series
    bare: Series
    thrown_away: int

    @property
    def note(self) -> str:
        if self.bare.spread > STEADY:
            return f"not steady: the bare loop spread by {self.bare.spread:.0%} in the best of {RUNS} runs"
        if self.thrown_away:
            return f"{self.thrown_away} run{'s' if self.thrown_away > 1 else ''} thrown away"
        return ""


async def compare(
    ours: Measured, bare: Measured, *, tell: Teller, what: str, repetitions: int = REPETITIONS
) -> Comparison:
    """Warm up, then measure both in turn; again if the bare loop was not steady. The steadiest run counts."""
    runs: list[Comparison] = []
    while len(runs) < RUNS:
        run = await _run(ours, bare, tell=tell, what=what, repetitions=repetitions)
        runs.append(Comparison(run[0], run[1], thrown_away=len(runs)))
        if runs[-1].bare.spread <= STEADY:
            return runs[-1]
        tell.notice(f"{what}: thrown away, the bare loop spread by {runs[-1].bare.spread:.0%}")
    return min(runs, key=lambda run: run.bare.spread)


async def _run(ours: Measured, bare: Measured, *, tell: Teller, what: str, repetitions: int) -> tuple[Series, Series]:
    with tell.step(f"{what}: warm-up"):
        await bare()
        await ours()
    of_ours, of_bare = list[float](), list[float]()
    for number in range(repetitions):
        with tell.step(f"{what}: {number + 1} of {repetitions}"):
            # Neither is always the one that comes after the other.
            for mine, kept in ((bare, of_bare), (ours, of_ours))[:: 1 if number % 2 else -1]:
                kept.append(await mine())
    return Series(tuple(of_ours)), Series(tuple(of_bare))

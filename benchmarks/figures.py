"""What a row has to show: a figure, what it is held against, and whether its goal is reached."""

from dataclasses import dataclass
from enum import StrEnum

from benchmarks.series import Series


class Of(StrEnum):
    """What of a figure a goal is about."""

    RATIO = "ours / bare"
    VALUE = "ours"
    DIFFERENCE = "ours - bare"


@dataclass(frozen=True)
class Goal:
    """At most or at least so much."""

    limit: float
    of: Of
    at_most: bool = True

    def is_reached(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


def ratio_at_most(limit: float) -> Goal:
    return Goal(limit, Of.RATIO)


def ratio_at_least(limit: float) -> Goal:
    return Goal(limit, Of.RATIO, at_most=False)


def at_most(limit: float) -> Goal:
    return Goal(limit, Of.VALUE)


def at_least(limit: float) -> Goal:
    return Goal(limit, Of.VALUE, at_most=False)


def above_bare_by_at_most(limit: float) -> Goal:
    return Goal(limit, Of.DIFFERENCE)


@dataclass(frozen=True)
class Figure:
    """One line of the table. `note` says what a reader must know to trust it, or why it cannot be trusted."""

    row: int
    what: str
    unit: str
    ours: Series
    bare: Series | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours.median / self.bare.median if self.bare is not None and self.bare.median else None

    @property
    def judged(self) -> float | None:
        """What the goal is about; None where there is no goal, or nothing to hold it against."""
        if self.goal is None:
            return None
        if self.goal.of is Of.VALUE:
            return self.ours.median
        if self.bare is None:
            return None
        return self.ratio if self.goal.of is Of.RATIO else self.ours.median - self.bare.median

    @property
    def reached(self) -> bool | None:
        return None if self.goal is None or self.judged is None else self.goal.is_reached(self.judged)

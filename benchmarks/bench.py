"""What every row is given."""

from dataclasses import dataclass

from benchmarks.stands import Stands
from benchmarks.telling import Teller


@dataclass(frozen=True)
class Bench:
    """Where to measure, and whom to tell how far it is."""

    stands: Stands
    tell: Teller
    runs: int
    """How often a comparison is made at most, until its bare loop is steady."""

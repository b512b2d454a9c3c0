"""One ranking out of several: reciprocal rank fusion."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from qa.passages import PassageId

# Cormack, Clarke and Büttcher (SIGIR 2009) found 60 best over many collections; the result hardly depends on it.
RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class Fused:
    """A passage with its fused score: 1 is the first of every ranking, and nothing is above it."""

    id: PassageId
    score: float


def fuse(rankings: Sequence[Sequence[PassageId]]) -> list[Fused]:
    """Join rankings, each best first, into one. A passage named twice in one ranking counts where it stands first."""
    sums: defaultdict[PassageId, float] = defaultdict(float)
    for ranking in rankings:
        for rank, passage in enumerate(dict.fromkeys(ranking), start=1):
            sums[passage] += 1 / (RANK_CONSTANT + rank)
    best = len(rankings) / (RANK_CONSTANT + 1)
    fused = [Fused(passage, round(score / best, 6)) for passage, score in sums.items()]
    return sorted(fused, key=lambda item: (-item.score, item.id))

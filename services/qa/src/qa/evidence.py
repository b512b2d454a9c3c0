"""Whether what was found supports an answer at all; judged before fusion, for a fused rank says nothing of a bad match.

A passage is evidence if its cosine reaches the floor that was measured for the embedding model, or if it holds the
question's rare words: most of those that few or none of the owner's passages hold. A word that no passage holds counts
as rare, too: a question about the capital of Mongolia is not supported by a passage on capital.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, log

from qa.passages import PassageId

# Stems of words that people ask with: they say nothing about what is asked for. (PostgreSQL's own list of stop words
# already leaves out what, which, who, when, is, does, the, …)
_ASKING = """
accord also answer ask contain could describ detail document easili exact exist explain fact file find get give got
happen inform know like list made make mani may mean mention might much name need one page part passag pleas possibl
question refer relat said say see show specif state summar summari tell text thing think use want way would write
"""
ASKING = frozenset(_ASKING.split())

# Up to this share of an owner's passages a word still tells one passage from another …
RARE_SHARE = 0.1
# … and with few passages the share means nothing: a word in three of them is not common yet.
RARE_AT_LEAST = 3
# Two of three: one absent word is allowed for (people paraphrase), not more.
NEEDED_SHARE = 2 / 3

# Part numbers, paragraphs, article codes: letters with digits, a long number, or one of several parts (a version, an
# address). One of them is found on purpose.
_CODE = re.compile(r"(?=.*\d)(?=.*[^\W\d_]).{3,}|\d{5,}|\d+(?:\.\d+){2,}")


@dataclass(frozen=True, slots=True)
class VectorHit:
    """A neighbour of the question; `cosine` 1 is the same direction."""

    id: PassageId
    cosine: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the question (its stem), and how many of the owner's passages hold it."""

    stem: str
    holders: int

    @property
    def is_code(self) -> bool:
        return _CODE.fullmatch(self.stem) is not None


@dataclass(frozen=True, slots=True)
class TextHit:
    """A passage that holds some of the question's words."""

    id: PassageId
    found: frozenset[str]
    rank: float


def close_enough(hits: Iterable[VectorHit], floor: float) -> list[VectorHit]:
    """The hits whose cosine reaches the model's floor, nearest first."""
    near = [hit for hit in hits if isfinite(hit.cosine) and hit.cosine >= floor]
    return sorted(near, key=lambda hit: -hit.cosine)


def rare_words(words: Iterable[Word], passages: int) -> list[Word]:
    """The words that tell passages apart, out of `passages` in all."""
    limit = max(RARE_AT_LEAST, RARE_SHARE * passages)
    return [word for word in words if word.holders <= limit and word.stem not in ASKING]


def holds_rare_words(found: frozenset[str], rare: Sequence[Word]) -> bool:
    """Whether a passage with these words of the question supports an answer to it."""
    held = [word for word in rare if word.stem in found]
    return any(word.is_code for word in held) or (bool(held) and len(held) >= NEEDED_SHARE * len(rare))


def by_weight(hits: Iterable[TextHit], words: Sequence[Word], passages: int) -> list[TextHit]:
    """Best first: the more of the question's words, and the rarer ones, the better."""
    weights = {word.stem: log(1 + (passages + 1) / (word.holders + 1)) for word in words if word.stem not in ASKING}
    return sorted(hits, key=lambda hit: (-sum(weights.get(stem, 0.0) for stem in hit.found), -hit.rank, hit.id))


def supported(hits: Iterable[TextHit], words: Sequence[Word], passages: int) -> list[TextHit]:
    """The hits of a full-text search that are evidence, best first."""
    rare = rare_words(words, passages)
    return by_weight((hit for hit in hits if holds_rare_words(hit.found, rare)), words, passages)

"""The chat model without a model: it answers with the passages' own sentences, and says so."""

import math
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.chat import Delta, Message, Usage
from models.embeddings import Embeddings
from models.sentences import sentences, words

NAME = "extractive"
PREFACE = "In the documents' own words (quoted, no language model is configured):"
QUOTES = 3
"""Sentences quoted at most."""
CLOSE = 0.75
"""A further sentence is quoted only if it scores at least this share of the best one."""
PASSAGES = 5
"""Passages whose sentences are weighed: the rest were found to be worse, and each sentence costs time."""
LONGEST = 400
"""Characters of a quoted sentence: what is longer is a table or a list."""
SHORTEST = 3
"""Words of a sentence worth quoting; a heading says nothing."""
WORDS_WEIGHT = 0.5
RANK_WEIGHT = 0.05
"""What a passage loses with each rank, for the retriever has seen more than one sentence."""


_REFERENCE = re.compile(r"[\[【](\s*\d[\d\s,;–-]*)[\]】]")


@dataclass(frozen=True)
class _Candidate:
    text: str
    passage: int  # from 1
    heading: str

    @property
    def in_context(self) -> str:
        """A sentence below a heading need not say again what it is about."""
        return f"{self.heading} {self.text}" if self.heading else self.text


class Extractive:
    """Quotes the best supporting sentences, each with the number of its passage."""

    name = NAME

    def __init__(self, embeddings: Embeddings | None) -> None:
        self._embeddings = embeddings

    async def stream(
        self, messages: Sequence[Message], *, question: str, passages: Sequence[str]
    ) -> AsyncGenerator[Delta | Usage, None]:
        del messages
        candidates = _candidates(passages)
        scores = _by_words(question, candidates) - RANK_WEIGHT * np.array([c.passage - 1 for c in candidates])
        if self._embeddings is not None and candidates:
            scores = WORDS_WEIGHT * scores + await _by_meaning(self._embeddings, question, candidates)
        yield Delta(PREFACE)
        for candidate in _best(candidates, scores):
            yield Delta(f"\n\n“{_quotable(candidate.text)}” [{candidate.passage}]")

    async def load(self) -> None:
        """Needs nothing."""

    async def close(self) -> None:
        """Holds nothing."""


def _candidates(passages: Sequence[str]) -> list[_Candidate]:
    """Every sentence once, with the first passage that has it: neighbouring passages overlap.

    The overlap may begin within a sentence; that end of it is none where another passage has the whole.
    """
    found: dict[str, _Candidate] = {}
    openings = set[str]()
    for number, passage in enumerate(passages[:PASSAGES], start=1):
        pieces = list(_below_headings(passage))
        openings.update(piece for _, piece in pieces[:1])
        long_enough = [piece for piece in pieces if len(piece[1].split()) >= SHORTEST]
        for heading, piece in long_enough or pieces:
            found.setdefault(piece, _Candidate(piece, number, heading))
    ends = {piece for piece in openings if any(whole.endswith(f" {piece}") for whole in found)}
    return [candidate for candidate in found.values() if candidate.text not in ends]


def _below_headings(passage: str) -> Iterator[tuple[str, str]]:
    """Each sentence with the Markdown heading that it stands under; a heading is one as well."""
    heading = ""
    for piece in sentences(passage):
        if piece.startswith("#"):
            heading = piece.lstrip("# ")
            yield "", piece
        else:
            yield heading, piece


def _by_words(question: str, candidates: Sequence[_Candidate]) -> NDArray[np.float64]:
    """The share of the question's words that a sentence has, rare ones counting more (inverse document frequency)."""
    asked = words(question)
    has = [asked & words(candidate.in_context) for candidate in candidates]
    weights = {word: math.log(1 + len(candidates) / (1 + sum(word in some for some in has))) for word in asked}
    total = sum(weights.values()) or 1.0
    return np.array([sum(weights[word] for word in some) / total for some in has])


async def _by_meaning(embeddings: Embeddings, question: str, candidates: Sequence[_Candidate]) -> NDArray[np.float32]:
    """Cosine of question and sentence."""
    vectors = await embeddings.embed_texts([question, *(candidate.in_context for candidate in candidates)])
    cosines: NDArray[np.float32] = vectors[1:] @ vectors[0]
    return cosines


def _best(candidates: Sequence[_Candidate], scores: NDArray[np.floating]) -> list[_Candidate]:
    """The best sentence and those close to it, best first."""
    order = sorted(range(len(candidates)), key=lambda place: -scores[place])[:QUOTES]
    if not order:
        return []
    enough = CLOSE * scores[order[0]]
    return [candidates[place] for place in order if place == order[0] or scores[place] >= enough]


def _quotable(text: str) -> str:
    # A document's own references would be taken for citations of our passages.
    text = _REFERENCE.sub(r"(\1)", text)
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST].rsplit(" ", 1)[0] + " …"

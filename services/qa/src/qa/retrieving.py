"""Retrieval: vectors and full text side by side, evidence judged, fused, and checked again in our own tables."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from models.embeddings import Embeddings
from numpy.typing import NDArray

from qa.active_index import ActiveIndex, ActiveIndexes
from qa.alongside import alongside
from qa.embedding import QuestionModels
from qa.evidence import VectorHit, close_enough, supported
from qa.following import joined, leans_on_previous
from qa.full_text import FullText, TextFindings
from qa.fusing import Fused, fuse
from qa.passages import Passage, PassageId, Scope
from qa.reading import Passages
from qa.steps import Steps
from qa.vectors import CollectionMissing, IndexUnavailable, ShardedVectors

log = structlog.stdlib.get_logger(__name__)

# The check in our own tables may drop some: of three times as many, enough are nearly always left …
MARGIN = 3
# … and if not, the index holds a lot that is no longer (or not yet) there: then of sixteen times as many.
SECOND_MARGIN = 16
# Chroma's graph is approximate, and looks about as far as it is asked to: where hundreds of passages resemble each
# other it ends among them, and misses the one that answers. Before it is said that there is none, it looks so far.
FAR = 1000
# Of an owner with so few it has seen all at the first look (its `ef_search`).
SEEN_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Findings:
    """What both halves found for one query; `near` is None if the index did not answer."""

    vector: NDArray[np.float32]
    near: list[VectorHit] | None
    texts: TextFindings

    def may_have_missed(self, limit: int) -> bool:
        """Whether the index, asked for `limit`, had more to look at than it does."""
        return self.near is not None and len(self.near) >= limit and self.texts.passages > SEEN_AT_ONCE

    def evidence(self, floor: float) -> list[list[PassageId]]:
        """The ranking of each half that answered, without what is no evidence."""
        texts = [hit.id for hit in supported(self.texts.hits, self.texts.words, self.texts.passages)]
        if self.near is None:
            return [texts]
        return [[hit.id for hit in close_enough(self.near, floor)], texts]


class Retrieve:
    """Finds the passages that support an answer."""

    def __init__(
        self,
        *,
        indexes: ActiveIndexes,
        models: QuestionModels,
        vectors: ShardedVectors,
        texts: FullText,
        passages: Passages,
    ) -> None:
        self._indexes = indexes
        self._models = models
        self._vectors = vectors
        self._texts = texts
        self._passages = passages

    async def __call__(
        self, question: str, *, scope: Scope, top_k: int, steps: Steps, previous: str | None = None
    ) -> list[Passage]:
        """The best `top_k` passages, best first; none if nothing found is evidence.

        `previous` is the question before this one in its session: both together are searched as well, and what that
        finds is evidence by itself only if this question refers back.
        Raises `IndexUnavailable` if the index is needed to say anything: full text alone found nothing. A provider's
        trouble is raised as its failure.
        """
        queries = [question] if previous is None else [question, joined(previous, question)]
        index = await self._active()
        with steps.timed("retrieve"):
            try:
                return await self._from(index, queries, scope=scope, top_k=top_k, steps=steps)
            except CollectionMissing:
                newer = await self._indexes.read()
                if newer is None or newer == index:
                    raise
                return await self._from(newer, queries, scope=scope, top_k=top_k, steps=steps)

    async def _active(self) -> ActiveIndex:
        index = await self._indexes.current()
        if index is None:
            raise IndexUnavailable("no index has been activated yet")
        return index

    async def _from(
        self, index: ActiveIndex, queries: Sequence[str], *, scope: Scope, top_k: int, steps: Steps
    ) -> list[Passage]:
        model = await self._models.for_index(index)
        looks = [self._look(index, model, query, scope=scope, limit=MARGIN * top_k, steps=steps) for query in queries]
        findings = [await looks[0]] if len(looks) == 1 else await asyncio.gather(*looks)
        fused = _judge(queries, findings, model.evidence_floor)
        found = await self._read(fused, scope, top_k, steps)
        if not fused and any(item.may_have_missed(MARGIN * top_k) for item in findings):
            limit = FAR
        elif len(found) < min(top_k, len(fused)):
            limit = SECOND_MARGIN * top_k
        else:
            return found
        more = [self._look_further(index, item, scope=scope, limit=limit, steps=steps) for item in findings]
        findings = await asyncio.gather(*more)
        return await self._read(_judge(queries, findings, model.evidence_floor), scope, top_k, steps)

    async def _look(
        self, index: ActiveIndex, model: Embeddings, query: str, *, scope: Scope, limit: int, steps: Steps
    ) -> Findings:
        # The other half goes first, without a task of its own: it takes longer, and both share one core.
        texts = asyncio.ensure_future(self._search_texts(query, scope, limit, steps))
        vector, near = await alongside(
            texts, self._embed_and_search(index, model, query, scope=scope, limit=limit, steps=steps)
        )
        return Findings(vector=vector, near=near, texts=await texts)

    async def _look_further(
        self, index: ActiveIndex, before: Findings, *, scope: Scope, limit: int, steps: Steps
    ) -> Findings:
        near = await self._search_vectors(index, before.vector, scope=scope, limit=limit, steps=steps)
        return before if near is None else Findings(vector=before.vector, near=near, texts=before.texts)

    async def _embed_and_search(
        self, index: ActiveIndex, model: Embeddings, query: str, *, scope: Scope, limit: int, steps: Steps
    ) -> tuple[NDArray[np.float32], list[VectorHit] | None]:
        with steps.timed("embed"):
            vector = await model.embed_question(query)
        return vector, await self._search_vectors(index, vector, scope=scope, limit=limit, steps=steps)

    async def _search_vectors(
        self, index: ActiveIndex, vector: NDArray[np.float32], *, scope: Scope, limit: int, steps: Steps
    ) -> list[VectorHit] | None:
        with steps.timed("vectors"):
            try:
                return await self._vectors.nearest(index, scope, vector, limit)
            except CollectionMissing:
                raise
            except IndexUnavailable as error:
                log.warning("answering without vectors", reason=error.reason)
                return None

    async def _search_texts(self, query: str, scope: Scope, limit: int, steps: Steps) -> TextFindings:
        with steps.timed("full_text"):
            return await self._texts.search(query, scope, limit)

    async def _read(self, fused: Sequence[Fused], scope: Scope, top_k: int, steps: Steps) -> list[Passage]:
        with steps.timed("check"):
            return await self._passages.read(fused, scope, top_k)


def _judge(queries: Sequence[str], findings: Sequence[Findings], floor: float) -> list[Fused]:
    """The fused ranking of what is evidence; empty if nothing is."""
    own, *with_previous = (item.evidence(floor) for item in findings)
    counted = with_previous if any(own) or leans_on_previous(queries[0]) else []
    rankings = [*own, *(ranking for halves in counted for ranking in halves)]
    fused = fuse(rankings)
    if not fused and any(item.near is None for item in findings):
        raise IndexUnavailable("full text found nothing, and the index did not answer")
    return fused

"""Embeddings by a provider."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from chassis.side_by_side import side_by_side
from numpy.typing import NDArray

from models.answers import checked_vectors
from models.calling import Caller, Patience, with_retries
from models.calls import EmbeddingCalls
from models.known import KNOWN, KnownModel
from models.opening import OnFirstUse
from models.providers import PROVIDERS
from models.settings import ModelSettings


class RemoteEmbeddings:
    """Sends `provider_texts_per_call` texts a call, `provider_in_flight` calls at a time."""

    def __init__(self, settings: ModelSettings, known: KnownModel) -> None:
        self.name = settings.embedding_model
        self.dimension = known.dimension
        self.evidence_floor = known.evidence_floor
        self._texts_per_call = settings.provider_texts_per_call
        self._retries = settings.provider_retries
        self._time_limit = settings.provider_timeout
        kind, _, model = self.name.partition(":")
        provider = PROVIDERS[kind]
        own = KNOWN.get(self.name)
        dimensions = known.dimension if own is not None and own.dimension != known.dimension else None
        self._calls: OnFirstUse[EmbeddingCalls] = OnFirstUse(
            lambda: provider.open_embeddings(settings, model, dimensions)
        )
        self._caller = Caller(
            provider=kind,
            operation="embed",
            in_flight=settings.provider_in_flight,
            time_limit=settings.provider_timeout,
            classify=lambda error: provider.failure(error, settings.provider_timeout),
        )

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        calls = await self._calls.get()
        shares = [texts[start : start + self._texts_per_call] for start in range(0, len(texts), self._texts_per_call)]
        vectors = await side_by_side(self._embed(calls, share) for share in shares)
        return np.concatenate(vectors) if vectors else np.empty((0, self.dimension), np.float32)

    async def embed_question(self, question: str) -> NDArray[np.float32]:
        calls = await self._calls.get()
        patience = Patience.of(self._time_limit)
        return await with_retries(partial(self._embed_question, calls, question, patience), self._retries, patience)

    async def load(self) -> None:
        """Load the provider's library, and contact nobody."""
        await self._calls.load()

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._calls.close()

    async def _embed(self, calls: EmbeddingCalls, texts: Sequence[str]) -> NDArray[np.float32]:
        async with self._caller.place():
            answer = await self._caller.within(calls.embed_texts(texts))
            return checked_vectors(answer, count=len(texts), dimension=self.dimension)

    async def _embed_question(self, calls: EmbeddingCalls, question: str, patience: Patience) -> NDArray[np.float32]:
        async with self._caller.place(patience):
            answer = await self._caller.within(calls.embed_question(question), patience)
            vectors: NDArray[np.float32] = checked_vectors([answer], count=1, dimension=self.dimension)[0]
            return vectors

"""The factory of embedding models, used by embedder and qa alike."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from chassis.failures import Misconfigured
from numpy.typing import NDArray

from models.failures import MISCONFIGURED
from models.known import KNOWN, UNMEASURED_FLOOR, KnownModel
from models.settings import ModelSettings


class Embeddings(Protocol):
    """Texts to vectors of length 1.

    `evidence_floor` is the cosine below which a passage is no evidence for a question. Trouble is raised as one of
    chassis' failures, with a code of `models.failures`.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def evidence_floor(self) -> float: ...

    async def load(self) -> None:
        """Have at hand what the first call would have to wait for. Raises nothing; that call tells what is wrong."""
        ...

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text, in their order: (n, dimension)."""
        ...

    async def embed_question(self, question: str) -> NDArray[np.float32]:
        """One vector: (dimension,). Tried again, `provider_retries` times, for somebody waits."""
        ...

    async def close(self) -> None: ...


def open_embeddings(settings: ModelSettings, *, in_background: bool = False) -> Embeddings:
    """The embedding model that the settings name. A remote one is contacted with the first call, not before.

    `in_background` is for documents: the local model then takes what others leave of every core. Raises `Misconfigured`
    if the model cannot be used at all: not installed, or of unknown dimension.
    """
    known = describe(settings)
    if settings.embedding_model == "local":
        from models.local import LocalEmbeddings

        return LocalEmbeddings(
            evidence_floor=known.evidence_floor, threads=settings.embedding_threads, in_background=in_background
        )
    from models.remote_embeddings import RemoteEmbeddings

    return RemoteEmbeddings(settings, known)


def describe(settings: ModelSettings) -> KnownModel:
    """Dimension and evidence floor of the embedding model named, without opening it."""
    known = KNOWN.get(settings.embedding_model)
    own_floor = known.evidence_floor if known else UNMEASURED_FLOOR
    floor = own_floor if settings.evidence_floor is None else settings.evidence_floor
    return KnownModel(_dimension(settings, known), floor)


def _dimension(settings: ModelSettings, known: KnownModel | None) -> int:
    told = settings.embedding_dimension
    if settings.embedding_model == "local" and known and told not in (None, known.dimension):
        raise Misconfigured(
            MISCONFIGURED, f"The local model gives {known.dimension} numbers: unset DOCQA_EMBEDDING_DIMENSION."
        )
    dimension = told or (known.dimension if known else None)
    if dimension is None:
        raise Misconfigured(
            MISCONFIGURED,
            f"Set DOCQA_EMBEDDING_DIMENSION: nobody told us how many numbers {settings.embedding_model} gives.",
        )
    return dimension

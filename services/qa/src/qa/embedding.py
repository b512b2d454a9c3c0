"""Questions are embedded with the model of the index that is searched, whichever the settings name."""

import asyncio
from collections.abc import Callable

from chassis.failures import Misconfigured
from models.embeddings import Embeddings, open_embeddings
from models.failures import MISCONFIGURED

from qa.active_index import ActiveIndex
from qa.settings import QaSettings

OpenModel = Callable[[str, int | None], Embeddings]
"""Opens an embedding model by its name, and its dimension unless it is that of the settings; may take a second."""


class QuestionModels:
    """The embedding models in use: one, and another one for each index of another model since this process began.

    They stay open: a question may be on its way with the one before, and an index may become active again.
    """

    def __init__(self, open_model: OpenModel) -> None:
        self._open_model = open_model
        self._opened: dict[tuple[str, int | None], Embeddings] = {}
        self._opening = asyncio.Lock()

    async def open(self, name: str, dimension: int | None = None) -> Embeddings:
        """The model of that name. Raises `Misconfigured` if it cannot be opened."""
        async with self._opening:
            if (name, dimension) not in self._opened:
                self._opened[name, dimension] = await asyncio.to_thread(self._open_model, name, dimension)
            return self._opened[name, dimension]

    async def for_index(self, index: ActiveIndex) -> Embeddings:
        """The index's own model. Raises `Misconfigured` also if it is another one of that name."""
        model = self._opened.get((index.model, None))
        if model is None or model.dimension != index.dimension:
            model = await self.open(index.model, index.dimension)
        if model.dimension != index.dimension:
            raise Misconfigured(
                MISCONFIGURED,
                f"The index has {index.dimension} numbers a vector, its embedding model {model.dimension}.",
            )
        return model

    async def close(self) -> None:
        for model in self._opened.values():
            await model.close()


def open_with(settings: QaSettings) -> OpenModel:
    """Opens the model that the settings name as they say, and others with the same keys and patience."""

    def open_model(name: str, dimension: int | None) -> Embeddings:
        if name == settings.embedding_model:
            told = {} if dimension is None else {"embedding_dimension": dimension}
            return open_embeddings(settings.model_copy(update=told))
        other = {"embedding_model": name, "embedding_dimension": dimension, "evidence_floor": None}
        return open_embeddings(settings.model_copy(update=other))

    return open_model

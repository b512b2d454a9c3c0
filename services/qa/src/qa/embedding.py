"""Questions are embedded with the model of the index that is searched, whichever the settings name."""

import asyncio
from collections.abc import Callable

from chassis.failures import Misconfigured
from models.embeddings import Embeddings
from models.failures import MISCONFIGURED

from qa.active_index import ActiveIndex

OpenModel = Callable[[str, int], Embeddings]
"""Opens an embedding model by its name and dimension; may take a second."""


class QuestionModels:
    """The embedding models in use: one, but for the time in which another index takes over."""

    def __init__(self, open_model: OpenModel) -> None:
        self._open = open_model
        self._opened: dict[str, Embeddings] = {}
        self._opening = asyncio.Lock()

    async def for_index(self, index: ActiveIndex) -> Embeddings:
        """The index's own model. Raises `Misconfigured` if it cannot be opened, or is another one of that name."""
        model = self._opened.get(index.model)
        if model is None:
            async with self._opening:
                model = self._opened.get(index.model)
                if model is None:
                    model = await asyncio.to_thread(self._open, index.model, index.dimension)
                    self._opened[index.model] = model
        if model.dimension != index.dimension:
            raise Misconfigured(
                MISCONFIGURED,
                f"The index has {index.dimension} numbers a vector, its embedding model {model.dimension}.",
            )
        return model

    async def close(self) -> None:
        for model in self._opened.values():
            await model.close()

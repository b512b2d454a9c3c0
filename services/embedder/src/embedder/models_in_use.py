"""The embedding models of the indexes that are written, and of those that were since this process began."""

import asyncio

from models.embeddings import Embeddings, open_embeddings
from models.settings import ModelSettings

from embedder.indexes import IndexSpec


class ModelsInUse:
    """Opens each model once."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._opened: dict[tuple[str, int], Embeddings] = {}
        self._opening = asyncio.Lock()

    async def of(self, index: IndexSpec) -> Embeddings:
        """The model of an index. Raises `Misconfigured` if it cannot be opened."""
        return await self.named(index.model, index.dimension)

    async def named(self, model: str, dimension: int) -> Embeddings:
        async with self._opening:
            if (model, dimension) not in self._opened:
                settings = self._settings.model_copy(
                    update={"embedding_model": model, "embedding_dimension": dimension}
                )
                self._opened[model, dimension] = await asyncio.to_thread(open_embeddings, settings, in_background=True)
            return self._opened[model, dimension]

    async def close(self) -> None:
        for model in self._opened.values():
            await model.close()

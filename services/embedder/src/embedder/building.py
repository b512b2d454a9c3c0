"""Beginning to build an index beside the one that answers."""

from chassis.database import Sessions
from chassis.failures import Misconfigured
from messaging import jobs
from messaging.jobs import NewJob
from models.embeddings import describe
from models.settings import ModelSettings, checked_embedding_model
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, repository
from embedder.indexes import ACTIVE, BUILDING, CREATING, IndexSpec
from embedder.models_in_use import ModelsInUse
from embedder.orders import RebuildOrder
from embedder.shards import Shards

JOBS_AT_ONCE = 2000
"""Jobs in one statement: PostgreSQL takes 32,767 values."""


class IndexBusy(Exception):
    """Another index is being built."""

    def __init__(self, building: IndexSpec) -> None:
        super().__init__(f"{building.index_id} is being built with {building.model}; wait until it answers.")
        self.building = building


class UnknownModel(Exception):
    """No such embedding model can be used."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(reason)
        self.model = model


class BuildIndex:
    """Begins a build; the keeper activates the index when nothing lacks in it."""

    def __init__(self, sessions: Sessions, *, settings: ModelSettings, models: ModelsInUse, shards: Shards) -> None:
        self._sessions = sessions
        self._settings = settings
        self._models = models
        self._shards = shards

    async def __call__(self, model: str | None, *, shards: int) -> IndexSpec:
        """The index that is being built; if one with this model is already, that one.

        `None` is the model that answers: its vectors are copied from our tables, and no provider is asked. Any other
        is tried first, once. Raises `IndexBusy`, `UnknownModel` and the failures of that try.
        """
        name, dimension = await self._wanted(model)
        begun = await self._begin(name, dimension, shards=shards)
        if begun.state == CREATING:
            await self.begin_to_write(begun)
        return begun

    async def begin_to_write(self, index: IndexSpec) -> None:
        """Make its collections; from then on it gets every new vector, and a job for each document that is there."""
        await self._shards.create(index)
        async with self._sessions.begin() as session:
            known = {one.index_id: one for one in await indexes.decide(session)}
            if known[index.index_id].state != CREATING:
                return
            await indexes.become(session, index, BUILDING)
            await _add_jobs(session, index)

    async def _wanted(self, model: str | None) -> tuple[str, int]:
        async with self._sessions() as session:
            active = next((one for one in await indexes.existing(session) if one.state == ACTIVE), None)
        if active is not None and model in (None, active.model):
            return active.model, active.dimension
        name, dimension = _described(self._settings, model or self._settings.embedding_model)
        opened = await self._models.named(name, dimension)
        await opened.embed_question("Does this model answer?")
        return name, dimension

    async def _begin(self, model: str, dimension: int, *, shards: int) -> IndexSpec:
        async with self._sessions.begin() as session:
            for one in await indexes.decide(session):
                if one.state in (CREATING, BUILDING):
                    if (one.model, one.dimension) == (model, dimension):
                        return one
                    raise IndexBusy(one)
            begun = await indexes.begin(session, model=model, dimension=dimension, shards=shards)
        if begun is None:  # somebody else was a moment earlier
            return await self._begin(model, dimension, shards=shards)
        return begun


def _described(settings: ModelSettings, model: str) -> tuple[str, int]:
    """A model's name and dimension; the setting `embedding_dimension` is that of the model that the settings name."""
    told = settings.embedding_dimension if model == settings.embedding_model else None
    try:
        named = settings.model_copy(
            update={"embedding_model": checked_embedding_model(model), "embedding_dimension": told}
        )
        return model, describe(named).dimension
    except (ValueError, Misconfigured) as error:
        raise UnknownModel(model, getattr(error, "detail", str(error))) from error


async def _add_jobs(session: AsyncSession, index: IndexSpec) -> None:
    """One for each document; a rebuild's version is the generation of its index."""
    payload = RebuildOrder(index_id=index.index_id).to_payload()
    there = await repository.places(session)
    for start in range(0, len(there), JOBS_AT_ONCE):
        await jobs.add_many(
            session,
            [
                NewJob(kind="rebuild", subject=one.document, version=index.generation, owner=one.owner, payload=payload)
                for one in there[start : start + JOBS_AT_ONCE]
            ],
        )

"""Beginning to build an index beside the one that answers."""

from collections.abc import Collection, Iterable

import structlog
from chassis.database import Sessions
from chassis.failures import Misconfigured
from messaging import jobs
from models.embeddings import describe
from models.known import KNOWN
from models.settings import ModelSettings, checked_embedding_model
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, repository
from embedder.indexes import ACTIVE, BUILDING, CREATING, RETIRED, IndexSpec
from embedder.models_in_use import ModelsInUse
from embedder.orders import rebuild_job
from embedder.shards import Shards

log = structlog.stdlib.get_logger(__name__)


class IndexBusy(Exception):
    """Another index is being built."""

    def __init__(self, building: IndexSpec) -> None:
        super().__init__(
            f"{building.index_id} is being built with {building.model}: wait until it answers, or call it off."
        )
        self.building = building


class NothingBuilt(Exception):
    """There is nothing to call off."""

    def __init__(self) -> None:
        super().__init__("No index is being built beside one that answers.")


class UnknownModel(Exception):
    """No such embedding model can be used; `field` of what was asked is why."""

    def __init__(self, model: str, reason: str, *, field: str = "model") -> None:
        super().__init__(reason)
        self.model = model
        self.field = field


class BuildIndex:
    """Begins a build, or calls it off; the keeper activates the index when nothing lacks in it."""

    def __init__(self, sessions: Sessions, *, settings: ModelSettings, models: ModelsInUse, shards: Shards) -> None:
        self._sessions = sessions
        self._settings = settings
        self._models = models
        self._shards = shards

    async def __call__(self, model: str | None, *, dimension: int | None = None, shards: int) -> IndexSpec:
        """The index that is being built; if one with this model and dimension is already, that one.

        `None` stands for what the index that answers has. If both are its own, its vectors are copied from our tables
        and no provider is asked; anything else is first tried on one text. Raises `IndexBusy`, `UnknownModel` and the
        failures of that try.
        """
        name, numbers = await self._wanted(model, dimension)
        begun = await self._begin(name, numbers, shards=shards)
        if begun.state == CREATING:
            await self.begin_to_write(begun)
        return begun

    async def call_off(self) -> list[IndexSpec]:
        """Retire what is being built; the jobs for it then find nothing to do. Raises `NothingBuilt`."""
        async with self._sessions.begin() as session:
            known = await indexes.decide(session)
            builds = [one for one in known if one.state in (CREATING, BUILDING)]
            # The only index there is cannot be done without.
            if not builds or all(one.state != ACTIVE for one in known):
                raise NothingBuilt
            retired = [await indexes.become(session, one, RETIRED) for one in builds]
        log.info("a build was called off", index_ids=[one.index_id for one in retired])
        return retired

    async def again(self, lost: IndexSpec, *, all_lost: Collection[IndexSpec]) -> None:
        """Begin one instead of an index that Chroma has lost, with the same model; no provider is asked.

        One that was being built retires with it. Nothing begins beside another build, unless that one is of another
        model and lost as well: then it waits.
        """
        async with self._sessions.begin() as session:
            known = {one.index_id: one for one in await indexes.decide(session)}
            if known[lost.index_id].state != lost.state or _is_in_the_way(known.values(), lost, all_lost):
                return
            if lost.state == BUILDING:
                await indexes.become(session, lost, RETIRED)
            begun = await indexes.begin(session, model=lost.model, dimension=lost.dimension, shards=lost.shards)
        if begun is not None:
            await self.begin_to_write(begun)

    async def begin_to_write(self, index: IndexSpec) -> None:
        """Make its collections; from then on it gets every new vector, and a job for each document that is there."""
        await self._shards.create(index)
        async with self._sessions.begin() as session:
            known = {one.index_id: one for one in await indexes.decide(session)}
            if known[index.index_id].state != CREATING:
                return
            await indexes.become(session, index, BUILDING)
            await _add_jobs(session, index)

    async def _wanted(self, model: str | None, dimension: int | None) -> tuple[str, int]:
        async with self._sessions() as session:
            active = next((one for one in await indexes.existing(session) if one.state == ACTIVE), None)
        present = active.model if active is not None else self._settings.embedding_model
        if active is not None and model in (None, active.model) and dimension in (None, active.dimension):
            return active.model, active.dimension
        name, numbers = _described(self._settings, model or present, dimension)
        opened = await self._models.named(name, numbers)
        await opened.embed_question("Does this model answer?")
        return name, numbers

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


def _is_in_the_way(known: Iterable[IndexSpec], lost: IndexSpec, all_lost: Collection[IndexSpec]) -> bool:
    """Whether another build keeps one from being begun instead of a lost index."""
    gone = {one.index_id for one in all_lost}
    builds = [one for one in known if one.state in (CREATING, BUILDING) and one.index_id != lost.index_id]
    return any(one.index_id not in gone or one.same_vectors(lost) for one in builds)


def _described(settings: ModelSettings, model: str, dimension: int | None) -> tuple[str, int]:
    """A model's name and dimension; the setting `embedding_dimension` is that of the model that the settings name."""
    if dimension is None and model == settings.embedding_model:
        dimension = settings.embedding_dimension
    try:
        named = settings.model_copy(
            update={"embedding_model": checked_embedding_model(model), "embedding_dimension": dimension}
        )
        return model, describe(named).dimension
    except ValueError as error:
        raise UnknownModel(model, f"An embedding model {error}.") from error
    except Misconfigured as error:
        raise UnknownModel(model, _advice(model), field="dimension") from error


def _advice(model: str) -> str:
    """What to do about a dimension that is missing, or is not the model's."""
    if (known := KNOWN.get(model)) is not None:
        return f"{model} gives {known.dimension} numbers a vector: leave --dimension out."
    return f"Nobody told us how many numbers a vector of {model} has: say it with --dimension."


async def _add_jobs(session: AsyncSession, index: IndexSpec) -> None:
    """One for each document."""
    there = await repository.places(session)
    await jobs.add_many(session, [rebuild_job(index, one.document, one.owner) for one in there])

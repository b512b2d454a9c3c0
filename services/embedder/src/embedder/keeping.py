"""Keeping the indexes: the first one, the right model, lost collections, activation, renewal, and dropping."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from chassis.database import Sessions, is_transient
from chassis.failures import Failure
from messaging.outbox import Outbox
from models.embeddings import describe
from models.settings import ModelSettings
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, lingering, repository
from embedder.building import BuildIndex, IndexBusy
from embedder.indexes import ACTIVE, BUILDING, CREATING, DROPPED, RETIRED, IndexSpec
from embedder.shards import ForeignCollection, Shards

LOOK_EVERY = 30.0
"""Seconds between two looks at the collections: one call of 5 ms."""
LOOK_AGAIN = 1.0
"""After trouble."""
ROWS_AT_ONCE = 5000
"""Rows of a dropped index that are erased in one transaction, so that no lock is held for long."""

log = structlog.stdlib.get_logger(__name__)


class IndexRefused(Exception):
    """This process must not run on this index."""


class IndexKeeper:
    """Every embedder has one; all that they do is harmless when done by two."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        settings: ModelSettings,
        shards: Shards,
        build: BuildIndex,
        outbox: Outbox,
        count: int,
    ) -> None:
        """`count` is the number of shards of indexes to come."""
        self._sessions = sessions
        self._settings = settings
        self._shards = shards
        self._build = build
        self._outbox = outbox
        self._count = count
        self._soon = asyncio.Event()
        self._missing: str | None = "the index has not been looked at yet"

    def look_soon(self) -> None:
        """Something has changed: the index that is being built may be complete."""
        self._soon.set()

    async def check(self) -> str | None:
        """For readiness: there is an index that answers, or will after a rebuild that is under way."""
        return self._missing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Prepares, then keeps. Raises `IndexRefused` if this process must not run; Chroma may come later."""
        await self._prepare()
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    async def look(self) -> None:
        """One round of all that keeps the indexes right. Raises `Failure`, and `ForeignCollection`."""
        await self._make_first()
        await self._finish_creating()
        lost = await self._restore()
        if await self.activate() and lost:
            self.look_soon()  # what else is lost has waited for it
        self._missing = None

    async def activate(self) -> bool:
        """Let the index that is being built answer, if every chunk has its vector there."""
        async with self._sessions() as session:
            if await _whole(session, await indexes.existing(session)) is None:
                return False
        async with self._sessions.begin() as session:
            known = await indexes.decide(session)
            new = await _whole(session, known)
            if new is None:
                return False
            if (old := _one(known, ACTIVE)) is not None:
                await indexes.become(session, old, RETIRED)
            active = await indexes.become(session, new, ACTIVE)
            self._outbox.add(session, active.activated())
        log.info("another index answers", index_id=active.index_id, generation=active.generation, model=active.model)
        return True

    async def renew(self, session: AsyncSession) -> None:
        """A chore: build the index that answers anew where more lingers than is there. No provider is asked."""
        index = await lingering.overgrown(session)
        await session.commit()
        if index is None:
            return
        log.info("erased vectors linger, and the index is built anew", index_id=index.index_id)
        with contextlib.suppress(IndexBusy):
            await self._build(None, shards=index.shards)

    async def drop_retired(self, session: AsyncSession) -> None:
        """A chore: drop what has been retired for a day, in Chroma and in our tables."""
        past = await indexes.past_their_day(session)
        await session.commit()
        for index in past:
            await self._shards.drop(index)
            while await repository.erase_index(session, index.index_id, most=ROWS_AT_ONCE):
                await session.commit()
            await indexes.decide(session)
            await indexes.become(session, index, DROPPED)
            await lingering.forget(session, index.index_id)
            await session.commit()

    async def _prepare(self) -> None:
        await self._refuse_other_model()
        await self._say_again()
        try:
            await self.look()
        except ForeignCollection as error:
            raise IndexRefused(f"{error}. Give docqa a Chroma of its own, or remove that collection.") from error
        except Failure as failure:
            self._missing = failure.detail

    async def _keep(self) -> None:
        pause = LOOK_AGAIN
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause if self._missing else LOOK_EVERY):
                    await self._soon.wait()
            self._soon.clear()
            try:
                await self.look()
            except (Failure, ForeignCollection) as error:
                self._missing = getattr(error, "detail", str(error))
                log.warning("the index is not as it should be", reason=self._missing)
            except Exception as error:
                if not is_transient(error):
                    log.exception("looking at the index failed")

    async def _refuse_other_model(self) -> None:
        async with self._sessions() as session:
            known = [one for one in await indexes.existing(session) if one.state != RETIRED]
        mine = (self._settings.embedding_model, describe(self._settings).dimension)
        if known and mine not in [(one.model, one.dimension) for one in known]:
            theirs = _one(known, ACTIVE) or known[0]
            raise IndexRefused(
                f"DOCQA_EMBEDDING_MODEL is {mine[0]} ({mine[1]} numbers a vector), but the index was made with "
                f"{theirs.model} ({theirs.dimension}). To go on: DOCQA_EMBEDDING_MODEL={theirs.model} and "
                f"DOCQA_EMBEDDING_DIMENSION={theirs.dimension}. To change the model, start with these and run: "
                f"docqa reindex --model {mine[0]} --dimension {mine[1]}"
            )

    async def _say_again(self) -> None:
        """Which index answers is said at each start: a reader may be new."""
        async with self._sessions.begin() as session:
            active = _one(await indexes.existing(session), ACTIVE)
            if active is not None:
                self._outbox.add(session, active.activated())

    async def _make_first(self) -> None:
        """The first index answers as soon as its collections are there."""
        async with self._sessions.begin() as session:
            if await indexes.existing(session):
                return
            await indexes.begin(
                session,
                model=self._settings.embedding_model,
                dimension=describe(self._settings).dimension,
                shards=self._count,
                generation=1,
            )

    async def _finish_creating(self) -> None:
        """Make the collections of an index that was begun, here or by a process that died over it."""
        async with self._sessions() as session:
            known = await indexes.existing(session)
        if (begun := _one(known, CREATING)) is not None:
            await self._build.begin_to_write(begun)

    async def _restore(self) -> bool:
        """Chroma has lost collections: an empty index gets them back, any other is built again from our tables.

        The one that answers first; what was being built beside it waits for that. Whether any was lost.
        """
        async with self._sessions() as session:
            known = [one for one in await indexes.existing(session) if one.state in (ACTIVE, BUILDING)]
        missing = await self._shards.missing(known)
        lost = [index for index in known if missing[index.index_id]]
        for index in sorted(lost, key=lambda one: one.state != ACTIVE):
            log.warning("Chroma has lost collections", index_id=index.index_id, collections=missing[index.index_id])
            await self._restore_one(index, lost)
        return bool(lost)

    async def _restore_one(self, index: IndexSpec, lost: Sequence[IndexSpec]) -> None:
        async with self._sessions() as session:
            stored = await repository.holds_anything(session, index.index_id)
        if stored:
            await self._build.again(index, all_lost=lost)
        else:
            await self._shards.create(index)


async def _whole(session: AsyncSession, known: list[IndexSpec]) -> IndexSpec | None:
    """The index that is being built, if it has whatever the one that answers has; without such a one, any other.

    Only the newest, for qa keeps the highest generation.
    """
    new, active = next((one for one in known if one.state != RETIRED), None), _one(known, ACTIVE)
    if new is None or new.state != BUILDING:
        return None
    others = [active] if active is not None else [one for one in known if one != new]
    lacking = [await indexes.lacks_something(session, new, one) for one in others]
    return None if any(lacking) else new


def _one(known: list[IndexSpec], state: str) -> IndexSpec | None:
    return next((index for index in known if index.state == state), None)

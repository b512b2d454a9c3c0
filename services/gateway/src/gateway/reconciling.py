"""The reconciler: asks again for what has not moved. It never fails a document, and a backlog is not its business."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog
from chassis import metrics
from chassis.database import Sessions
from chassis.doubling import doubled
from messaging.outbox import Outbox
from sqlalchemy import Select, Update, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.deleting import deleted
from gateway.processing import uploaded
from gateway.tables import RUNNING_SQL, UNFINISHED_SQL, DeletionRow, DocumentRow

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")

DAILY = timedelta(days=1)
BACKLOG_PATIENCE = 5
"""How many times longer a document may stand still while others move."""
FORGOTTEN_BATCH = 1000
"""Rounds at a look for what a broker has forgotten: there they are no extra load, but the only one."""


@dataclass(frozen=True)
class Patience:
    """How long something may stand still, and what follows: rounds with back-off, at the bound an alert."""

    first: timedelta
    ceiling: timedelta
    alert_rounds: int
    batch: int

    def pause(self, unanswered: int) -> timedelta:
        """Until the next round, after so many that nothing followed."""
        if unanswered >= self.alert_rounds:
            return DAILY
        return doubled(self.first, unanswered, ceiling=self.ceiling)


class Reconcile:
    """Says `uploaded` and `deleted` again, with the next round and a new event id."""

    def __init__(self, *, sessions: Sessions, outbox: Outbox, patience: Patience) -> None:
        self._sessions = sessions
        self._outbox = outbox
        self._patience = patience

    async def __call__(self, session: AsyncSession) -> None:
        """One look. Rows that somebody is working on at this moment are moving, and are left alone."""
        for document in await self._due_documents(session):
            self._ask(document, "document")
            self._outbox.add(session, uploaded(document))
        for deletion in await self._due_deletions(session):
            self._ask(deletion, "deletion")
            if deletion.document_id is not None:
                self._outbox.add(session, deleted(deletion, deletion.document_id))

    async def at_once(self) -> None:
        """The broker has forgotten everything: whatever is not at its end is asked for now."""
        async with self._sessions.begin() as session:
            await session.execute(_due_now(DocumentRow, RUNNING_SQL))
            await session.execute(_due_now(DeletionRow, UNFINISHED_SQL))
        async with self._sessions.begin() as session:
            await self(session)

    async def _due_documents(self, session: AsyncSession) -> Sequence[DocumentRow]:
        patience = self._patience.first * (BACKLOG_PATIENCE if await self._is_moving(session) else 1)
        due = func.coalesce(DocumentRow.ask_at, DocumentRow.moved_at + patience) <= func.now()
        running = select(DocumentRow).where(text(RUNNING_SQL), due).order_by(DocumentRow.moved_at)
        lost = (DocumentRow.unanswered == 0) & DocumentRow.ask_at.is_not(None)
        return [
            *await session.scalars(_claimed(running.where(lost), FORGOTTEN_BATCH)),
            *await session.scalars(_claimed(running.where(~lost), self._patience.batch)),
        ]

    async def _due_deletions(self, session: AsyncSession) -> Sequence[DeletionRow]:
        due = func.coalesce(DeletionRow.ask_at, DeletionRow.requested_at + self._patience.first) <= func.now()
        unfinished = select(DeletionRow).where(text(UNFINISHED_SQL), due).order_by(DeletionRow.requested_at)
        return (await session.scalars(_claimed(unfinished, FORGOTTEN_BATCH))).all()

    async def _is_moving(self, session: AsyncSession) -> bool:
        """Whether some document has come further of late: then those that stand still are queueing behind it."""
        moved = select(DocumentRow.id).where(
            DocumentRow.moved_at > func.now() - self._patience.first, DocumentRow.moved_at > DocumentRow.started_at
        )
        return bool(await session.scalar(select(moved.exists())))

    def _ask(self, row: DocumentRow | DeletionRow, what: str) -> None:
        row.round += 1
        row.ask_at = func.now() + self._patience.pause(row.unanswered)
        row.unanswered += 1
        metrics.RECONCILER_ROUNDS.labels(what).inc()
        if row.unanswered >= self._patience.alert_rounds:
            log.error("nothing moves it", what=what, id=str(row.id), rounds=row.round)


def _due_now(table: type[DocumentRow] | type[DeletionRow], condition: str) -> Update:
    """Whoever has locked a row is moving it. Nobody is waited for, so that nobody can wait for us in turn."""
    free = select(table.id).where(text(condition)).with_for_update(skip_locked=True)
    at_once = update(table).where(table.id.in_(free)).values(ask_at=func.now(), unanswered=0)
    return at_once.execution_options(synchronize_session=False)


def _claimed(due: Select[T], most: int) -> Select[T]:
    return due.limit(most).with_for_update(skip_locked=True)

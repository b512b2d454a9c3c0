"""How many documents there are of each status, for whoever watches the service."""

import asyncio

import structlog
from chassis import metrics
from chassis.database import DATABASE_ERRORS, Sessions
from contracts.documents import DocumentStatus
from sqlalchemy import func, select

from gateway.tables import DocumentRow

EVERY = 30.0  # scrapes come every 15 to 60 s

log = structlog.stdlib.get_logger(__name__)


class Counting:
    """Every replica tells the whole: a dashboard takes the maximum, not the sum."""

    def __init__(self, *, sessions: Sessions) -> None:
        self._sessions = sessions

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            try:
                await self.count()
            except (*DATABASE_ERRORS, OSError, TimeoutError) as error:
                log.warning("cannot count documents", error=type(error).__name__)
            await asyncio.sleep(EVERY)

    async def count(self) -> None:
        """Count once."""
        async with self._sessions() as session:
            rows = await session.execute(select(DocumentRow.status, func.count()).group_by(DocumentRow.status))
            found: dict[str, int] = {row[0]: row[1] for row in rows}
        for status in DocumentStatus:
            metrics.DOCUMENTS.labels(status.value).set(found.get(status.value, 0))

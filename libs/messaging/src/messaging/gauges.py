"""What waits, as numbers: the outbox and the jobs."""

import asyncio
from collections.abc import Sequence

import structlog
from chassis import metrics
from chassis.database import is_transient
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import Text

EVERY = 10.0
STATES = ("waiting", "running")

_OUTBOX = text("""
    SELECT count(*) AS depth, coalesce(extract(epoch FROM clock_timestamp() - min(said_at)), 0)::float8 AS oldest
    FROM outbox WHERE sent_at IS NULL
""")

# Only what is in the partial indexes: the finished jobs of a week are not counted over and over.
_JOBS = text("""
    SELECT kind, 'waiting' AS state, count(*) AS jobs FROM jobs
    WHERE state = 'waiting' AND kind = ANY(:kinds) GROUP BY kind
    UNION ALL
    SELECT kind, 'running', count(*) FROM jobs WHERE state = 'running' AND kind = ANY(:kinds) GROUP BY kind
""").bindparams(bindparam("kinds", type_=ARRAY(Text)))

log = structlog.stdlib.get_logger(__name__)


async def run(engine: AsyncEngine, kinds: Sequence[str]) -> None:
    """Measure now and then, until cancelled."""
    while True:
        try:
            await measure(engine, kinds)
        except Exception as error:
            if not is_transient(error):
                log.exception("measuring failed")
        await asyncio.sleep(EVERY)


async def measure(engine: AsyncEngine, kinds: Sequence[str]) -> None:
    """Set the gauges."""
    async with engine.connect() as connection:
        outbox = (await connection.execute(_OUTBOX)).one()
        found = {(row.kind, row.state): row.jobs for row in await connection.execute(_JOBS, {"kinds": list(kinds)})}
    metrics.OUTBOX_DEPTH.set(outbox.depth)
    metrics.OUTBOX_OLDEST_SECONDS.set(outbox.oldest)
    for kind in kinds:
        for state in STATES:
            metrics.JOBS.labels(kind, state).set(found.get((kind, state), 0))

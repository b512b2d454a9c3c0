"""Once a second: the jobs of workers that died wait again, and what has become due is taken."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from chassis.database import is_transient
from chassis.transactions import Transactions

from messaging import taking

EVERY = 1.0  # seconds: notifications can be missed, back-offs and leases end

GAP = timedelta(seconds=3)
"""Between two pulses: then the database was away, or all of us stood still."""

HOLDERS_FIRST = timedelta(seconds=5)
"""After a gap. Whoever holds a job could not say so meanwhile, and does within two seconds."""

NEVER = datetime.min.replace(tzinfo=UTC)

log = structlog.stdlib.get_logger(__name__)


class Pulse:
    """Wakes the kinds of which something is due. All times are the database's: it may have stood still itself."""

    def __init__(self, transactions: Transactions, kinds: Sequence[str], wake: Callable[[str], None]) -> None:
        self._transactions = transactions
        self._kinds = kinds
        self._wake = wake
        self._steady_since = self._last = NEVER

    async def run(self) -> None:
        """Until cancelled; where there is no work, not at all."""
        while self._kinds:
            try:
                await self.beat()
            except Exception as error:
                if not is_transient(error):
                    log.exception("the pulse failed")
            await asyncio.sleep(EVERY)

    async def beat(self) -> None:
        """Once."""
        async with self._transactions.driver() as driver:
            at, due = await taking.pulse(driver, self._kinds, reclaims_until=self._reclaims_until)
        if not timedelta(0) <= at - self._last <= GAP:  # the database's clock may have been set back
            self._steady_since = at
        self._last = at
        for kind in due:
            self._wake(kind)

    @property
    def _reclaims_until(self) -> datetime:
        """A pulse that is held up on its way reclaims nothing either."""
        return self._last + GAP if self._last - self._steady_since >= HOLDERS_FIRST else NEVER

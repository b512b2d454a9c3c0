"""Single statements, each a transaction by itself: one round trip, on a connection that is at hand."""

import asyncio
from typing import TypeAlias

import asyncpg
from chassis.database import is_disconnected
from chassis.transactions import AT_HAND, Transactions

Row: TypeAlias = "asyncpg.Record"

# Of the pool's twenty connections. Two hundred questions at once wait here for their turn, which is sure to come, and
# not at the pool, which gives up on them.
AT_ONCE = 12


class Statements:
    """Runs statements that are safe to run twice: a lost connection is noticed by the statement, and it runs again."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def rows(self, statement: str, *values: object) -> list[Row]:
        """What the statement gives; `values` are its `$1`, `$2`, …"""
        for _ in range(AT_HAND):  # after a restart of the database all of them are lost
            try:
                return await self._run(statement, values)
            except Exception as error:
                if not is_disconnected(error):
                    raise
        return await self._run(statement, values)

    async def row(self, statement: str, *values: object) -> Row:
        """The one row that the statement gives."""
        (row,) = await self.rows(statement, *values)
        return row

    async def close(self) -> None:
        await self._transactions.close()

    async def _run(self, statement: str, values: tuple[object, ...]) -> list[Row]:
        async with self._turns, self._transactions.driver() as driver:
            return await driver.fetch(statement, *values)

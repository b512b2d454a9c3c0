"""Single statements, each a transaction by itself: one round trip, on a connection that is at hand."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from chassis.transactions import AT_HAND, Transactions
from sqlalchemy import Executable, Row
from sqlalchemy.exc import DBAPIError

# Of the pool's twenty connections. Two hundred questions at once wait here for their turn, which is sure to come, and
# not at the pool, which gives up on them.
AT_ONCE = 12


class Statements:
    """Runs statements that are safe to run twice: a lost connection is noticed by the statement, and it runs again."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def rows(self, statement: Executable, values: Mapping[str, object]) -> Sequence[Row[Any]]:
        """What the statement gives."""
        for _ in range(AT_HAND):  # after a restart of the database all of them are lost
            try:
                return await self._run(statement, values)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
        return await self._run(statement, values)

    async def row(self, statement: Executable, values: Mapping[str, object]) -> Row[Any]:
        """The one row that the statement gives."""
        (row,) = await self.rows(statement, values)
        return row

    async def close(self) -> None:
        await self._transactions.close()

    async def _run(self, statement: Executable, values: Mapping[str, object]) -> Sequence[Row[Any]]:
        async with self._turns, self._transactions.statement() as connection:
            return (await connection.execute(statement, dict(values))).all()

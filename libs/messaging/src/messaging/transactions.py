"""Transactions of the delivery itself, on connections that it keeps at hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.database import Sessions
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

AT_HAND = 4  # connections of each kind; more are used when there is more to do, and given back


class Transactions:
    """Short transactions, thousands an hour: none of them first asks whether its connection is still alive.

    Whoever uses them repeats a transaction that failed for its connection, and the next one is on a new connection.
    """

    def __init__(self, engine: AsyncEngine, sessions: Sessions) -> None:
        self._sessions = sessions
        self._plain = _AtHand(engine)
        self._autocommit = _AtHand(engine.execution_options(isolation_level="AUTOCOMMIT"))

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction, committed if the block ends well."""
        async with (
            self._plain.connection() as connection,
            self._sessions(bind=connection) as session,
            session.begin(),
        ):
            yield session

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement is a transaction by itself: one round trip instead of three."""
        async with self._autocommit.connection() as connection:
            yield connection

    def is_served_by(self, backend: int) -> bool:
        """Whether the database's backend of this id serves these transactions."""
        return backend in self._plain.backends

    async def close(self) -> None:
        await self._plain.close()
        await self._autocommit.close()


class _AtHand:
    """A few connections that stay out of the pool; one that something went wrong on goes back to it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.backends: set[int] = set()
        self._engine = engine
        self._idle: list[AsyncConnection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        connection = await self._one_at_hand() or await self._engine.connect()
        backend = await _backend_of(connection)
        self.backends.add(backend)
        keep = False
        try:
            yield connection
            keep = len(self._idle) < AT_HAND
        finally:
            if keep:
                self._idle.append(connection)
            else:
                self.backends.discard(backend)
                await connection.close()

    async def _one_at_hand(self) -> AsyncConnection | None:
        """One whose server has not hung up, as it does after a while of idling: that much is known without asking."""
        while self._idle:
            connection = self._idle.pop()
            raw = (await connection.get_raw_connection()).driver_connection
            if raw is not None and not raw.is_closed():
                return connection
            self.backends.clear()  # those that live on are noted again as soon as they are used
            await connection.invalidate()
            await connection.close()
        return None

    async def close(self) -> None:
        self.backends.clear()
        while self._idle:
            await self._idle.pop().close()


async def _backend_of(connection: AsyncConnection) -> int:
    raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    backend: int = raw.get_server_pid()  # known from the start of the connection: nobody is asked
    return backend

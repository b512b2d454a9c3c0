"""Short transactions, thousands an hour, on connections that are kept at hand.

What stands on the way of every document, every question and every login is said to the driver itself: a round trip
through SQLAlchemy takes ten times the processor time of the driver's own (docs/decisions/0093). Everything else goes
through the session, in the same transaction.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session as SyncSession

from chassis.database import Sessions, is_disconnected
from chassis.finishing import to_the_end

Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

LastWord = Callable[[Driver], Awaitable[None]]
"""What a transaction says right before its commit."""

AT_HAND = 6  # connections; more are used when there is more to do, and given back

_DRIVER = "chassis.driver"
_TRANSACTION = "chassis.transaction"
_LAST_WORDS = "chassis.last_words"


class Transactions:
    """Transactions and single statements that neither ask whether their connection is alive nor wait for the pool.

    A transaction that failed for its connection is repeated, or answered by saying that it may be; the next one is on a
    new connection.
    """

    def __init__(self, engine: AsyncEngine, sessions: Sessions) -> None:
        self.backends: set[int] = set()
        self._hearers: list[Callable[[dict[str, Any]], None]] = []
        self._sessions = sessions
        # BEGIN and COMMIT are said here and not by SQLAlchemy, so that the driver may be the first to say something.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._idle: list[tuple[AsyncConnection, Driver]] = []
        self._keeps = True

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction, committed if the block ends well; `driver_of` gives its driver.

        The session's own `commit` and `rollback` end nothing: whoever wants to take it all back raises.
        """
        async with self._connection() as (connection, driver):
            await _begin_on(driver)
            try:
                async with _closing(self._sessions(bind=connection, info={_DRIVER: driver})) as session:
                    yield session
                    memory = memory_of(session)
                    await _conclude(session, driver)
                await to_the_end(driver.execute("COMMIT"))
            except BaseException as error:
                if isinstance(error, TimeoutError):
                    driver.terminate()  # who has not answered one statement does not answer the next
                elif driver.is_in_transaction():
                    await to_the_end(driver.execute("ROLLBACK"))
                raise
        for hear in self._hearers:
            hear(memory)

    def on_commit(self, hear: "Callable[[dict[str, Any]], None]") -> None:
        """Call `hear` right after each commit, with what was to be remembered as long as that transaction lasted."""
        self._hearers.append(hear)

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[Driver]:
        """The driver, on which each statement is a transaction by itself: one round trip instead of three."""
        async with self._connection() as (_, driver):
            yield driver

    def is_served_by(self, backend: int) -> bool:
        """Whether the database's backend of this id serves these transactions."""
        return backend in self.backends

    async def close(self) -> None:
        """Give all connections back; what is said from now on keeps none at hand."""
        self._keeps = False
        self.backends.clear()
        while self._idle:
            connection, _ = self._idle.pop()
            await connection.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[AsyncConnection, Driver]]:
        """One that something went wrong on goes back to the pool, which looks at it before it is used again."""
        connection, driver = await self._one_at_hand() or await self._new()
        backend = driver.get_server_pid()  # known from the start of the connection: nobody is asked
        self.backends.add(backend)
        keep = False
        try:
            yield connection, driver
            keep = self._keeps and len(self._idle) < AT_HAND
        except Exception as error:
            if is_disconnected(error) or isinstance(error, TimeoutError):
                driver.terminate()  # the pool would not see it yet
            raise
        finally:
            if keep:
                self._idle.append((connection, driver))
            else:
                self.backends.discard(backend)
                await to_the_end(_give_back(connection, driver))

    async def _one_at_hand(self) -> tuple[AsyncConnection, Driver] | None:
        """One whose server has not hung up, as it does after a while of idling: that much is known without asking."""
        while self._idle:
            connection, driver = self._idle.pop()
            if not driver.is_closed():
                return connection, driver
            self.backends.clear()  # those that live on are noted again as soon as they are used
            await to_the_end(_give_back(connection, driver))
        return None

    async def _new(self) -> tuple[AsyncConnection, Driver]:
        connection = await self._engine.connect()
        try:
            return connection, await _driver(connection)
        except BaseException:
            await to_the_end(connection.close())
            raise


async def driver_of(session: AsyncSession) -> Driver:
    """The driver's connection within the session's transaction; what the session holds back is sent first."""
    if session.new or session.dirty or session.deleted:
        await session.flush()
    if (driver := session.info.get(_DRIVER)) is not None:
        return driver  # type: ignore[no-any-return]
    connection = await session.connection()
    driver = await _driver(connection)
    if not driver.is_in_transaction():
        await connection.run_sync(_begin)
    return driver


def memory_of(session: AsyncSession | SyncSession) -> dict[str, Any]:
    """What is to be remembered as long as the session's transaction lasts."""
    memory: dict[str, Any] = session.info.setdefault(_TRANSACTION, {})
    return memory


def before_commit(session: AsyncSession, say: LastWord) -> None:
    """Have this called when all else of the transaction has been said, and not at all if it is rolled back."""
    memory_of(session).setdefault(_LAST_WORDS, []).append(say)


@asynccontextmanager
async def _closing(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """Most transactions say everything to the driver: then the session has begun nothing that would have to end."""
    try:
        yield session
    finally:
        if session.in_transaction():
            await session.close()


async def _conclude(session: AsyncSession, driver: Driver) -> None:
    """What is still to be said before the commit."""
    if session.in_transaction():
        await session.commit()
        return
    for say in memory_of(session).get(_LAST_WORDS, []):
        await say(driver)


@event.listens_for(SyncSession, "before_commit")
def _say_last_words(session: SyncSession) -> None:
    said: list[LastWord] = memory_of(session).get(_LAST_WORDS, [])
    if not said:
        return
    session.flush()
    connection = session.connection()
    adapted: Any = connection.connection.dbapi_connection
    if not adapted.driver_connection.is_in_transaction():
        _begin(connection)
    for say in said:
        adapted.run_async(say)


@event.listens_for(SyncSession, "after_commit")
def _forget(session: SyncSession) -> None:
    session.info.pop(_TRANSACTION, None)


@event.listens_for(SyncSession, "after_soft_rollback")
def _forget_what_was_taken_back(session: SyncSession, _transaction: object) -> None:
    session.info.pop(_TRANSACTION, None)


async def _begin_on(driver: Driver) -> None:
    """Who is cancelled meanwhile does not learn whether the server has begun: nobody uses this connection again."""
    try:
        await driver.execute("BEGIN")
    except BaseException:
        driver.terminate()
        raise


def _begin(connection: Connection) -> None:
    """SQLAlchemy begins with its first statement."""
    connection.exec_driver_sql("SELECT")


async def _driver(connection: AsyncConnection) -> Driver:
    driver: Driver | None = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return driver


async def _give_back(connection: AsyncConnection, driver: Driver) -> None:
    """What is closed, or still in a transaction that could not be ended, is nobody's any more."""
    if driver.is_closed() or driver.is_in_transaction():
        with suppress(Exception):
            await connection.invalidate()
    await connection.close()

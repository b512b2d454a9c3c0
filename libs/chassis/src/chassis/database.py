"""Sessions on the service's own PostgreSQL."""

import asyncio
import select
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import DateTime, Text, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from chassis.finishing import to_the_end
from chassis.lost_connections import notice_loss
from chassis.settings import ServiceSettings

T = TypeVar("T")

Sessions = async_sessionmaker[AsyncSession]

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints, for `MetaData(naming_convention=NAMING)`: migrations must be able to name what they drop."""

TYPES: dict[Any, Any] = {str: Text(), datetime: DateTime(timezone=True)}
"""What columns are, for `type_annotation_map = TYPES`: text without a length, and times that know their zone."""

TRUSTED_SECONDS = 5.0
"""How long after its last use a connection is believed to be alive."""

DEADLOCK = "40P01"

CLOSED = "connection is closed"
"""What the driver says of a connection that it knows to be gone."""

TRANSIENT_STATES = (
    "08",  # connection exceptions
    "40",  # deadlock, serialization: the transaction was rolled back
    "53",  # out of connections, memory or disk
    "55P03",  # a lock was not given in time
    "57",  # cancelled by a time limit, shut down, starting up
    "58030",  # the server's own disk
)

GOOD_BYE = ("08", "57P")
"""States with which a connection ends: it is lost, its server shuts down, or the server has ended it."""

UNSTORABLE_STATES = ("22000", "22003", "22021", "22P05")
"""NUL characters, lone surrogates, numbers beyond the column: values that no retry stores."""

DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a statement may raise beside `OSError` and `TimeoutError`, whichever way it goes."""


class Session(AsyncSession):
    """A session whose commit and rollback run to their end even if the caller is cancelled."""

    async def commit(self) -> None:
        await to_the_end(super().commit())

    async def rollback(self) -> None:
        await to_the_end(super().rollback())


def create_engine(
    settings: ServiceSettings | str,
    *,
    application_name: str | None = None,
    pool_size: int = 10,
    max_overflow: int = 10,
    pool_timeout: float = 5.0,
    statement_timeout: float = 30.0,
    idle_timeout: float = 30.0,
) -> AsyncEngine:
    """An engine with bounds on everything that can hang: connecting, waiting for the pool, locks, statements, idling.

    What a burst needed is given back: sessions end `idle_timeout` seconds after their last statement. The pool notices
    before it hands such a connection on; whoever keeps one for themselves has to look.

    A URL may name a socket folder: `postgresql+asyncpg://role:secret@/database?host=/run/docqa&port=5432`.
    """
    url = settings if isinstance(settings, str) else settings.database_url
    name = application_name or ("docqa" if isinstance(settings, str) else settings.service)
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=pool_timeout,
        pool_pre_ping=True,  # after a restart of the server the first request should not be the one that notices
        pool_use_lifo=True,  # what a burst needed lies idle then, and is ended by the server
        pool_recycle=1800,
        hide_parameters=True,  # values are people's text, and errors end up in logs
        connect_args={
            "timeout": 5,
            "command_timeout": statement_timeout + 5,  # the server cancels first, unless it has stopped answering
            "server_settings": {
                "application_name": name,
                "jit": "off",  # our statements take milliseconds, compiling one takes hundreds
                "statement_timeout": _milliseconds(statement_timeout),
                "lock_timeout": "10000",
                "idle_in_transaction_session_timeout": "10000",
                "idle_session_timeout": _milliseconds(idle_timeout),  # a session costs the server 2 to 3 MB
            },
        },
    )
    _notice_what_is_lost(engine)
    _trust_what_was_just_used(engine)
    return engine


def _notice_what_is_lost(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def notice(connection: Any, _record: object) -> None:
        notice_loss(_socket_of(connection.driver_connection))


def _trust_what_was_just_used(engine: AsyncEngine) -> None:
    """A connection that worked a moment ago is not asked again, unless its server has said something meanwhile.

    Servers say nothing to idle connections but good-bye. The pool's own question costs three round trips, more than
    many a transaction.
    """
    used_at: WeakKeyDictionary[object, float] = WeakKeyDictionary()
    dialect = engine.sync_engine.dialect
    ask = dialect.do_ping

    @event.listens_for(engine.sync_engine, "checkin")
    def note(connection: Any, _record: object) -> None:
        if connection is not None:
            used_at[connection.driver_connection] = time.monotonic()

    def ping(connection: Any) -> bool:
        raw = connection.driver_connection
        just_used = time.monotonic() - used_at.get(raw, 0.0) < TRUSTED_SECONDS
        return (just_used and not raw.is_closed() and _is_silent(raw)) or ask(connection)

    dialect.do_ping = ping  # type: ignore[method-assign, assignment]


def _is_silent(raw: Any) -> bool:
    """Whether nothing waits to be read of what the server sent."""
    waiting = select.poll()
    waiting.register(_socket_of(raw).fileno(), select.POLLIN)
    return not waiting.poll(0)


def _socket_of(raw: Any) -> Any:
    return raw._transport.get_extra_info("socket")  # asyncpg tells nobody else


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Sessions whose objects stay readable after the commit."""
    return async_sessionmaker(engine, class_=Session, expire_on_commit=False)


def reads_of(sessions: Sessions) -> Sessions:
    """Sessions for reads of single statements: without BEGIN and ROLLBACK, two round trips less each."""
    engine: AsyncEngine = sessions.kw["bind"]
    return create_sessions(engine.execution_options(isolation_level="AUTOCOMMIT"))


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may well succeed later: the database is away, or this one lost a race."""
    if getattr(error, "connection_invalidated", False) or is_disconnected(error):
        return True
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True  # a migration has changed a table, and the driver has noted it
    if state := sqlstate(error):
        return state.startswith(TRANSIENT_STATES)
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, PoolExhausted | OSError | TimeoutError)


def is_disconnected(error: BaseException) -> bool:
    """Whether the connection is lost with this error; another one may do.

    A server's good-bye may be heard before the connection ends: for that moment the driver is at odds with itself.
    """
    if isinstance(error, asyncpg.InterfaceError):
        return CLOSED in str(error)
    return isinstance(error, asyncpg.InternalClientError | ConnectionError) or sqlstate(error).startswith(GOOD_BYE)


def is_unstorable(error: BaseException) -> bool:
    """Whether a value is one that PostgreSQL cannot hold at all."""
    return sqlstate(error) in UNSTORABLE_STATES


def sqlstate(error: BaseException) -> str:
    """The five characters PostgreSQL gave this error, or nothing; of SQLAlchemy's errors and of the driver's."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


async def retry_deadlock(work: Callable[[], Awaitable[T]], tries: int = 5) -> T:
    """`work` is one whole transaction: of two that wait for each other PostgreSQL ends one, and that is run again."""
    for left in range(tries - 1, -1, -1):
        try:
            return await work()
        except (DBAPIError, asyncpg.PostgresError) as error:
            if sqlstate(error) != DEADLOCK or not left:
                raise
        await asyncio.sleep(0.01 * (tries - left))
    raise AssertionError("unreachable")


def check_of(engine: AsyncEngine) -> Callable[[], Awaitable[str | None]]:
    """A readiness check: the database answers."""

    async def check() -> str | None:
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (*DATABASE_ERRORS, OSError, TimeoutError) as error:
            return f"the database does not answer ({type(error).__name__})"
        return None

    return check


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))

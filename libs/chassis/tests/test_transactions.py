"""Transactions and statements on connections that are kept at hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from chassis.database import create_engine, create_sessions, is_disconnected, is_transient, sqlstate
from chassis.transactions import AT_HAND, Driver, Transactions, before_commit, driver_of
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

Database = Callable[[str | None], Awaitable[str]]


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(await database(None))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE things (id int PRIMARY KEY)"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def transactions(engine: AsyncEngine) -> AsyncIterator[Transactions]:
    transactions = Transactions(engine, create_sessions(engine))
    yield transactions
    await transactions.close()


async def end(engine: AsyncEngine, backend: int) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:backend, 10000)"), {"backend": backend})


async def things(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        return list((await connection.scalars(text("SELECT id FROM things ORDER BY id"))).all())


async def add(driver: Driver, number: int) -> None:
    await driver.execute("INSERT INTO things VALUES ($1)", number)


async def test_the_next_one_has_the_connection_of_the_last(transactions: Transactions) -> None:
    async with transactions.driver() as driver:
        first = driver.get_server_pid()
    async with transactions.begin() as session:
        assert (await driver_of(session)).get_server_pid() == first
    assert transactions.is_served_by(first)


async def test_what_is_in_use_while_all_are_closed_is_given_back_as_well(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async with transactions.driver(), transactions.begin():
        await transactions.close()
    async with transactions.driver():
        pass
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedout() == 0


async def test_one_that_the_server_has_ended_meanwhile_is_no_trouble(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async with transactions.driver() as driver:
        backend = driver.get_server_pid()
    await end(engine, backend)
    async with transactions.begin() as session:
        assert (await driver_of(session)).get_server_pid() != backend
    assert not transactions.is_served_by(backend)


async def test_what_goes_past_the_session_is_in_its_transaction(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async with transactions.begin() as session:
        await add(await driver_of(session), 1)
        await session.execute(text("INSERT INTO things VALUES (2)"))
        assert await things(engine) == [], "nobody else sees it yet"
    assert await things(engine) == [1, 2]


async def test_a_block_that_fails_leaves_nothing(transactions: Transactions, engine: AsyncEngine) -> None:
    async def fail() -> None:
        async with transactions.begin() as session:
            await add(await driver_of(session), 1)
            await session.execute(text("INSERT INTO things VALUES (2)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await things(engine) == []


async def test_a_cancelled_block_leaves_nothing_and_its_connection_serves_others(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async def wait() -> None:
        async with transactions.begin() as session:
            driver = await driver_of(session)
            await add(driver, 1)
            await driver.execute("SELECT pg_sleep(60)")

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await things(engine) == []
    async with transactions.begin() as session:
        await add(await driver_of(session), 1)
    assert await things(engine) == [1]


async def test_one_that_is_cancelled_while_it_begins_takes_nobody_elses_statements_with_it(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async def wait() -> None:
        async with transactions.begin():
            await asyncio.Event().wait()

    for steps in range(1, 20):
        async with transactions.driver() as driver:
            await driver.execute("SELECT")  # there is one at hand
        waiting = asyncio.create_task(wait())
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.01)  # for a server that was told to begin, and did
        async with transactions.driver() as driver:
            await add(driver, steps)
        assert steps in await things(engine), f"cancelled after {steps} steps of the loop"


async def test_a_connection_that_is_lost_in_the_middle_is_a_transient_failure(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async def lose(again: bool) -> None:
        async with transactions.begin() as session:
            driver = await driver_of(session)
            await end(engine, driver.get_server_pid())
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await driver.execute("SELECT")
            if again:
                await driver.execute("SELECT")

    for again in (True, False):
        with pytest.raises(Exception) as lost:  # noqa: PT011 - whichever it is, it says that it may be tried again
            await lose(again)
        assert is_transient(lost.value)
    async with transactions.begin() as session:
        await add(await driver_of(session), 1)
    assert await things(engine) == [1]


async def test_a_connection_on_which_nothing_was_answered_in_time_is_not_used_again(
    transactions: Transactions,
) -> None:
    async def time_out() -> None:
        async with transactions.begin() as session:
            driver = await driver_of(session)
            backends.append(driver.get_server_pid())
            await driver.execute("SELECT pg_sleep(60)", timeout=0.1)

    async def time_out_alone() -> None:
        async with transactions.driver() as driver:
            backends.append(driver.get_server_pid())
            await driver.execute("SELECT pg_sleep(60)", timeout=0.1)

    backends = list[int]()
    for attempt in (time_out, time_out_alone, time_out):
        with pytest.raises(TimeoutError):
            await attempt()
    assert len(set(backends)) == 3


async def test_a_mistake_in_a_statement_is_no_transient_failure(transactions: Transactions) -> None:
    with pytest.raises(asyncpg.InterfaceError) as mistake:
        async with transactions.driver() as driver:
            await driver.execute("SELECT $1::int", 1, 2)
    assert not is_transient(mistake.value)
    with pytest.raises(asyncpg.PostgresError) as unknown:
        async with transactions.driver() as driver:
            await driver.execute("SELECT nothing")
    assert not is_transient(unknown.value)
    assert sqlstate(unknown.value) == "42703"


async def test_an_ordinary_sessions_driver_is_in_its_transaction_too(engine: AsyncEngine) -> None:
    async with create_sessions(engine)() as session:
        await add(await driver_of(session), 1)
        await session.rollback()
        await add(await driver_of(session), 2)
        await session.commit()
    assert await things(engine) == [2]


async def test_more_than_are_kept_at_hand_work_at_once(transactions: Transactions, engine: AsyncEngine) -> None:
    async def one(number: int) -> None:
        async with transactions.begin() as session:
            driver = await driver_of(session)
            await driver.execute("SELECT pg_sleep(0.05)")
            await add(driver, number)

    await asyncio.gather(*(one(number) for number in range(2 * AT_HAND)))
    assert await things(engine) == list(range(2 * AT_HAND))


@pytest.mark.parametrize("at_hand", [True, False])
async def test_last_words_are_said_with_the_commit_and_never_without(
    at_hand: bool, transactions: Transactions, engine: AsyncEngine
) -> None:
    begin = transactions.begin if at_hand else create_sessions(engine).begin

    async def fail() -> None:
        async with begin() as session:
            before_commit(session, lambda driver: add(driver, 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with begin() as session:
        before_commit(session, lambda driver: add(driver, 2))
        assert await session.scalar(text("SELECT count(*) FROM things")) == 0
    assert await things(engine) == [2]


async def test_last_words_are_said_also_where_the_session_was_asked_nothing(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async with transactions.begin() as session:
        before_commit(session, lambda driver: add(driver, 1))
        assert not session.in_transaction()
    assert await things(engine) == [1]


async def test_last_words_of_what_was_rolled_back_are_not_said_later(engine: AsyncEngine) -> None:
    async with create_sessions(engine)() as session:
        await session.execute(text("SELECT"))
        before_commit(session, lambda driver: add(driver, 1))
        await session.rollback()
        before_commit(session, lambda driver: add(driver, 2))
        await session.commit()
    assert await things(engine) == [2]


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"), True),
        (asyncpg.AdminShutdownError("terminating connection"), True),
        (asyncpg.InterfaceError("cannot perform operation: connection is closed"), True),
        (asyncpg.InterfaceError("the server expects 1 argument"), False),
        (asyncpg.UniqueViolationError("duplicate key"), False),
    ],
)
async def test_a_connection_is_not_used_again_after_its_servers_good_bye(
    error: Exception, ends: bool, transactions: Transactions
) -> None:
    assert is_disconnected(error) is ends
    used: list[Driver] = []

    async def fail() -> None:
        async with transactions.driver() as driver:
            used.append(driver)
            raise error

    with pytest.raises(type(error)):
        await fail()

    assert used[0].is_closed() is ends
    async with transactions.driver() as driver:
        assert await driver.fetchval("SELECT 1") == 1

"""Sessions on a real PostgreSQL, with clients that change their minds and servers that go away."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from chassis.database import (
    NAMING,
    Sessions,
    check_of,
    create_engine,
    create_sessions,
    is_transient,
    retry_deadlock,
    sqlstate,
)
from chassis.finishing import to_the_end
from chassis.settings import ServiceSettings
from sqlalchemy import Column, Integer, MetaData, Table, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

Database = Callable[[str | None], Awaitable[str]]


@pytest.fixture
async def url(database: Database) -> str:
    return await database(None)


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url, pool_size=2, max_overflow=0)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE things (id int PRIMARY KEY, name text)"))
        await connection.execute(text("INSERT INTO things VALUES (1, 'one'), (2, 'two')"))
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    return create_sessions(engine)


async def count(engine: AsyncEngine, where: str = "true") -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM things WHERE {where}"))).scalar_one())


async def sessions_among(engine: AsyncEngine, backends: list[int]) -> int:
    known = text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:backends)")
    async with engine.connect() as connection:
        return int((await connection.execute(known, {"backends": backends})).scalar_one())


def checked_out(engine: AsyncEngine) -> int:
    assert isinstance(engine.pool, QueuePool)
    return engine.pool.checkedout()


async def test_everything_that_can_hang_has_a_limit(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        shown = {
            name: (await connection.execute(text(f"SHOW {name}"))).scalar_one()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        }

    assert shown == {
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
    }


async def test_what_a_burst_needed_is_given_back(url: str, engine: AsyncEngine) -> None:
    bursting = create_engine(url, idle_timeout=1)

    async def ask() -> int:
        async with bursting.connect() as connection:
            return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    first = await asyncio.gather(*(ask() for _ in range(3)))
    async with asyncio.timeout(10):
        while await sessions_among(engine, first):  # noqa: ASYNC110 - nothing tells of it but the server's own view
            await asyncio.sleep(0.01)

    assert await ask() not in first
    await bursting.dispose()


async def test_the_servers_view_names_the_service(url: str, settings: ServiceSettings) -> None:
    engine = create_engine(settings.model_copy(update={"database_url": url}))
    async with engine.connect() as connection:
        name = (await connection.execute(text("SHOW application_name"))).scalar_one()
    await engine.dispose()

    assert name == "some"


async def test_a_commit_under_way_survives_a_cancellation(engine: AsyncEngine, sessions: Sessions) -> None:
    async with engine.begin() as connection:  # a commit that takes a while
        await connection.execute(
            text(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$"
            )
        )
        await connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION slow()"
            )
        )
    inserted = asyncio.Event()

    async def implicit() -> None:
        async with sessions.begin() as session:
            await session.execute(text("INSERT INTO things VALUES (3, 'three')"))
            inserted.set()

    async def explicit() -> None:
        async with sessions() as session:
            await session.execute(text("INSERT INTO things VALUES (4, 'four')"))
            inserted.set()
            await session.commit()

    for work in (implicit, explicit):
        inserted.clear()
        task = asyncio.create_task(work())
        await inserted.wait()
        await asyncio.sleep(0)  # now within the commit
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await count(engine, "id IN (3, 4)") == 2
    assert checked_out(engine) == 0


async def test_cancelled_statements_leak_no_connection_and_no_dirt(engine: AsyncEngine, sessions: Sessions) -> None:
    async def work() -> None:
        async with sessions.begin() as session:
            await session.execute(text("UPDATE things SET name = 'dirty' WHERE id = 1"))
            await session.execute(text("SELECT pg_sleep(10)"))

    for round_ in range(6):
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01 * round_)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert checked_out(engine) == 0
    assert await count(engine, "name = 'dirty'") == 0
    async with sessions.begin() as session:
        await session.execute(text("UPDATE things SET name = 'clean' WHERE id = 1"))
    assert await count(engine, "name = 'clean'") == 1


async def test_a_rollback_is_seen_through_as_well(sessions: Sessions, engine: AsyncEngine) -> None:
    async with sessions() as session:
        await session.execute(text("UPDATE things SET name = 'dirty'"))
        await session.rollback()

    assert await count(engine, "name = 'dirty'") == 0


async def test_after_all_connections_were_cut_the_next_transaction_works(
    engine: AsyncEngine, sessions: Sessions, url: str
) -> None:
    assert await count(engine) == 2
    other = create_engine(url, application_name="cutter")
    async with other.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "  # waits until they are gone
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
            )
        )
    await other.dispose()

    async with sessions.begin() as session:
        await session.execute(text("INSERT INTO things VALUES (5, 'five')"))

    assert await count(engine, "id = 5") == 1


async def test_a_connection_cut_in_mid_transaction_is_transient(sessions: Sessions) -> None:
    async def work() -> None:
        async with sessions.begin() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            await session.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError) as raised:
        await work()

    assert is_transient(raised.value)


async def test_a_server_that_is_away_is_transient_and_readiness_says_so(engine: AsyncEngine) -> None:
    away = create_engine("postgresql+asyncpg://docqa:x@127.0.0.1:1/docqa")

    with pytest.raises(ConnectionRefusedError) as raised:
        await count(away)

    assert is_transient(raised.value)
    assert "does not answer" in (await check_of(away)() or "")
    assert await check_of(engine)() is None


async def test_an_exhausted_pool_is_transient_and_does_not_wait_forever(url: str) -> None:
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    async with engine.connect():
        with pytest.raises(Exception, match="QueuePool") as raised:
            await count(engine)
    await engine.dispose()

    assert is_transient(raised.value)


async def test_a_statement_over_its_time_is_ended_by_the_server_and_transient(url: str) -> None:
    engine = create_engine(url, statement_timeout=0.05)
    began = time.monotonic()
    with pytest.raises(DBAPIError) as raised:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(10)"))
    await engine.dispose()

    assert sqlstate(raised.value) == "57014"
    assert is_transient(raised.value)
    assert time.monotonic() - began < 5


async def test_a_broken_rule_is_nobodys_outage_and_its_values_are_not_told(sessions: Sessions) -> None:
    with pytest.raises(IntegrityError) as raised:
        async with sessions.begin() as session:
            await session.execute(text("INSERT INTO things VALUES (1, :name)"), {"name": "a private word"})

    assert not is_transient(raised.value)
    assert "a private word" not in str(raised.value)


async def test_one_of_two_that_wait_for_each_other_is_run_again(engine: AsyncEngine, sessions: Sessions) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE things ALTER COLUMN name TYPE text"))
    both_hold_one = asyncio.Barrier(2)
    runs: list[int] = []

    async def swap(first: int, second: int) -> None:
        async def once() -> None:
            runs.append(first)
            async with sessions.begin() as session:
                await session.execute(text("UPDATE things SET name = name || 'x' WHERE id = :id"), {"id": first})
                if len(runs) <= 2:
                    await both_hold_one.wait()
                await session.execute(text("UPDATE things SET name = name || 'x' WHERE id = :id"), {"id": second})

        await retry_deadlock(once)

    await asyncio.gather(swap(1, 2), swap(2, 1))

    assert len(runs) == 3
    assert await count(engine, "name IN ('onexx', 'twoxx')") == 2


async def test_other_errors_and_endless_deadlocks_are_raised() -> None:
    class Deadlock(Exception):
        sqlstate = "40P01"

    runs = 0

    async def always() -> None:
        nonlocal runs
        runs += 1
        raise DBAPIError("UPDATE", None, Deadlock())

    async def otherwise() -> None:
        raise DBAPIError("UPDATE", None, Exception())

    with pytest.raises(DBAPIError):
        await retry_deadlock(always, tries=3)
    with pytest.raises(DBAPIError):
        await retry_deadlock(otherwise)
    assert runs == 3


async def test_to_the_end_gives_the_result_or_the_error() -> None:
    async def result() -> int:
        return 7

    async def error() -> int:
        raise ValueError("no")

    assert await to_the_end(result()) == 7
    with pytest.raises(ValueError, match="no"):
        await to_the_end(error())


async def test_to_the_end_keeps_a_cancellation_until_the_work_is_done() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def work(*, fails: bool) -> None:
        begun.set()
        await asyncio.sleep(0.02)
        done.set()
        if fails:
            raise ValueError("too late to matter")

    for fails in (False, True):
        begun.clear()
        done.clear()
        task = asyncio.create_task(to_the_end(work(fails=fails)))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()


def test_constraints_have_names_that_migrations_can_drop() -> None:
    table = Table(
        "pairs",
        MetaData(naming_convention=NAMING),
        Column("one", Integer, primary_key=True),
        Column("two", Integer),
        UniqueConstraint("one", "two"),
    )

    names: set[Any] = {constraint.name for constraint in table.constraints}
    assert names == {"pk_pairs", "uq_pairs_one_two"}

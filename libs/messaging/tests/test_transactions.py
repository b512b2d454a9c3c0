"""The connections that are kept at hand."""

from messaging.transactions import Transactions
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BACKEND = text("SELECT pg_backend_pid()")


async def end(engine: AsyncEngine, backend: int) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:backend, 10000)"), {"backend": backend})


async def backend_of(connection: AsyncConnection) -> int:
    return int((await connection.execute(BACKEND)).scalar_one())


async def test_the_next_one_has_the_connection_of_the_last(transactions: Transactions) -> None:
    async with transactions.statement() as connection:
        first = await backend_of(connection)
    async with transactions.statement() as connection:
        assert await backend_of(connection) == first


async def test_one_that_the_server_has_ended_meanwhile_is_no_trouble(
    transactions: Transactions, engine: AsyncEngine
) -> None:
    async with transactions.statement() as connection:
        first = await backend_of(connection)
    async with transactions.begin() as session:
        second = await backend_of(await session.connection())
    for backend in (first, second):
        await end(engine, backend)

    async with transactions.statement() as connection:
        assert await backend_of(connection) != first
    async with transactions.begin() as session:
        assert await backend_of(await session.connection()) != second

"""The schema: up, down, and the same as the tables."""

from collections.abc import Awaitable, Callable

from chassis import migrating
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


async def test_the_schema_goes_up_and_down_and_is_that_of_the_tables(
    database: Callable[[str | None], Awaitable[str]],
) -> None:
    url = await database(None)
    await migrating.upgrade("embedder", url)
    await migrating.check_models("embedder", url)
    await migrating.downgrade("embedder", url)
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        tables = await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert set(tables) <= {"alembic_version"}
    await engine.dispose()
    await migrating.upgrade("embedder", url)

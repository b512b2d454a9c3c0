"""Tables and migrations say the same, in both directions, on a real PostgreSQL."""

from collections.abc import Awaitable, Callable

import pytest
from chassis import migrating
from chassis.database import create_engine
from sqlalchemy import text

Database = Callable[[str | None], Awaitable[str]]

LEFT = text("""
    SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'public' AND relname NOT LIKE 'alembic_version%'
""")
FUNCTIONS = text(
    "SELECT count(*) FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname = 'public'"
)


@pytest.mark.parametrize("service", ["auth", "gateway", "ingest", "embedder", "qa"])
async def test_a_schema_goes_up_is_what_the_tables_say_and_comes_down_again(service: str, database: Database) -> None:
    url = await database(None)

    await migrating.upgrade(service, url)
    await migrating.upgrade(service, url)  # nothing to do is fine
    await migrating.check_models(service, url)
    await migrating.downgrade(service, url)

    engine = create_engine(url)
    async with engine.connect() as connection:
        assert await connection.scalar(LEFT) == 0
        assert await connection.scalar(FUNCTIONS) == 0
    await engine.dispose()
    await migrating.upgrade(service, url)


@pytest.mark.parametrize("service", ["auth", "gateway", "ingest", "embedder", "qa"])
async def test_a_table_that_no_migration_knows_is_noticed(service: str, database: Database) -> None:
    url = await database(service)
    engine = create_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE stranger (id integer PRIMARY KEY)"))
    await engine.dispose()

    with pytest.raises(Exception, match="stranger"):
        await migrating.check_models(service, url)

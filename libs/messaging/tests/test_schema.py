"""The migration and the mapped tables say the same."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from messaging import schema, tables
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine


async def test_the_tables_are_what_the_migration_makes(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> object:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_going_back_leaves_nothing(engine: AsyncEngine) -> None:
    def drop(connection: Connection) -> list[str]:
        operations = Operations(MigrationContext.configure(connection))
        schema.drop_v3(operations)
        schema.drop_v2(operations)
        schema.drop_v1(operations)
        return inspect(connection).get_table_names()

    async with engine.begin() as connection:
        assert await connection.run_sync(drop) == []

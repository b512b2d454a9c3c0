"""A database with messaging's tables, and nothing else in it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from chassis.database import Sessions, create_engine, create_sessions
from chassis.transactions import Transactions
from docqa.embedded.postgres import Server
from messaging import schema
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

OWNER = "some"


@pytest.fixture(scope="session")
def _template() -> list[str]:
    return []


@pytest.fixture
async def engine(postgres: Server, _template: list[str]) -> AsyncIterator[AsyncEngine]:
    await postgres.create_role(OWNER)
    if not _template:
        template = f"messaging_template_{uuid4().hex[:8]}"
        await _create_template(postgres, template)
        _template.append(template)
    name = f"messaging_{uuid4().hex[:12]}"
    await postgres.create_database(name, owner=OWNER, template=_template[0])
    engine = create_engine(postgres.url(name, OWNER))
    yield engine
    await engine.dispose()
    await postgres.drop_database(name)


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    return create_sessions(engine)


@pytest.fixture
async def transactions(engine: AsyncEngine, sessions: Sessions) -> AsyncIterator[Transactions]:
    transactions = Transactions(engine, sessions)
    yield transactions
    await transactions.close()


async def _create_template(postgres: Server, name: str) -> None:
    await postgres.create_database(name, owner=OWNER)
    engine = create_engine(postgres.url(name, OWNER))
    async with engine.begin() as connection:
        await connection.run_sync(_create)
    await engine.dispose()


def _create(connection: Connection) -> Any:
    operations = Operations(MigrationContext.configure(connection))
    schema.create_v1(operations)
    schema.create_v2(operations)
    schema.create_v3(operations)

"""An owner's row: always the last lock of a transaction (new rows by sha256, fences by id, the owner's row)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from chassis.transactions import Driver, driver_of
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from gateway.tables import DeletionRow, OwnerRow


class AccountClosed(Exception):
    """The account was deleted: its tokens still verify, and are worth nothing."""

    def __init__(self, owner: UUID) -> None:
        super().__init__("The account was deleted.")
        self.owner = owner


# How an owner ($1) goes on by so many steps ($2); an owner never heard of gets its row.
STEP = """
    owner AS (
        INSERT INTO owners (id, counter) VALUES ($1, $2)
        ON CONFLICT (id) DO UPDATE SET counter = owners.counter + $2
        RETURNING counter, closed_at
    )
"""

# The next positions for these documents, in the order given. One round trip: it is on the path of every upload.
_MOVE = f"""
    WITH {STEP}, moved AS (
        UPDATE documents SET position = owner.counter - $2 + step.ordinal, updated_at = now()
        FROM owner, unnest($3::uuid[]) WITH ORDINALITY AS step (id, ordinal)
        WHERE documents.id = step.id
    )
    SELECT closed_at FROM owner
"""  # noqa: S608 - of constants

_CLOSED = "SELECT closed_at FROM owners WHERE id = $1"


async def move(session: AsyncSession, owner: UUID, documents: Sequence[UUID]) -> None:
    """Tell the owner's streams that these documents have changed."""
    await _move(session, owner, documents)


async def move_if_open(session: AsyncSession, owner: UUID, documents: Sequence[UUID]) -> None:
    """The same for what only an open account may do. Raises `AccountClosed`: nothing gets past a closure."""
    if await _move(session, owner, documents):
        raise AccountClosed(owner)


async def say_gone(session: AsyncSession, deletion: DeletionRow) -> bool:
    """Tell the owner's streams that this deletion is complete. True if the account is closed."""
    counter, closed_at = (await session.execute(_upsert(deletion.owner_id, steps=1))).one()
    deletion.position = counter
    return closed_at is not None


async def close(session: AsyncSession, owner: UUID) -> None:
    """From this transaction on, nobody is this owner any more."""
    statement = insert(OwnerRow).values(id=owner, closed_at=text("now()"))
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[OwnerRow.id], set_={"closed_at": text("coalesce(owners.closed_at, now())")}
        )
    )


async def lock(session: AsyncSession, owner: UUID) -> None:
    """Wait for every transaction that has moved this owner's documents."""
    await session.flush()
    await session.execute(select(OwnerRow.id).where(OwnerRow.id == owner).with_for_update())


async def refuse_closed(driver: Driver, owner: UUID) -> None:
    """Raises `AccountClosed` for a token of an account that was deleted."""
    if await driver.fetchval(_CLOSED, owner) is not None:
        raise AccountClosed(owner)


async def _move(session: AsyncSession, owner: UUID, documents: Sequence[UUID]) -> bool:
    driver = await driver_of(session)  # whatever the session still locks comes before the owner
    return await driver.fetchval(_MOVE, owner, len(documents), list(documents)) is not None


def _upsert(owner: UUID, *, steps: int) -> ReturningInsert[int, datetime | None]:
    statement = insert(OwnerRow).values(id=owner, counter=steps)
    return statement.on_conflict_do_update(
        index_elements=[OwnerRow.id], set_={"counter": OwnerRow.counter + steps}
    ).returning(OwnerRow.counter, OwnerRow.closed_at)

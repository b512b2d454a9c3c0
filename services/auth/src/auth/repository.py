"""Questions to auth's tables that more than one use case asks."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.errors import AccountGone
from auth.tables import RefreshFamilyRow, RefreshTokenRow, UserRow


@dataclass(frozen=True)
class Person:
    """Whose account it is, as tokens and answers tell it."""

    id: UUID
    email: str
    name: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: UserRow) -> "Person":
        return cls(id=row.id, email=row.email, name=row.name, created_at=row.created_at)


async def user_by_id(session: AsyncSession, user_id: UUID) -> UserRow:
    """The account that a token speaks of. Raises `AccountGone` if it was deleted since."""
    user = await session.get(UserRow, user_id)
    if user is None:
        raise AccountGone(user_id)
    return user


async def lock_user(session: AsyncSession, user_id: UUID) -> UserRow:
    """The same, kept from other transactions until the end of this one. Raises `AccountGone`."""
    user = await session.get(UserRow, user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise AccountGone(user_id)
    return user


async def end_family(session: AsyncSession, token_digest: bytes) -> None:
    """No token of the family that this one belongs to is good any more."""
    family = select(RefreshTokenRow.family_id).where(RefreshTokenRow.digest == token_digest)
    await session.execute(delete(RefreshFamilyRow).where(RefreshFamilyRow.id == family.scalar_subquery()))

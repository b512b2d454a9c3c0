"""API keys: credentials for programs, made and deleted by their owner, exchanged for short-lived tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database import Sessions
from chassis.ids import uuid7
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.errors import ApiKeyNotFound, InvalidApiKey, TooManyKeys
from auth.minting import AccessToken, mint
from auth.opaque import SHOWN_CHARACTERS, digest, new_api_key
from auth.repository import lock_user, user_by_id
from auth.signing import KeyRing
from auth.tables import ApiKeyRow, UserRow

_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class MadeKey:
    """A new key and its secret, which nobody can show again."""

    row: ApiKeyRow
    secret: str


class ApiKeys:
    """A user's keys."""

    def __init__(self, sessions: Sessions, *, most: int) -> None:
        self._sessions = sessions
        self._most = most

    async def make(self, user_id: UUID, *, name: str, expires_at: datetime | None) -> MadeKey:
        """Raises `AccountGone`, `TooManyKeys`."""
        secret = new_api_key()
        row = ApiKeyRow(
            id=uuid7(),
            user_id=user_id,
            name=name,
            prefix=secret[:SHOWN_CHARACTERS],
            digest=digest(secret),
            expires_at=expires_at,
        )
        async with self._sessions.begin() as session:
            await lock_user(session, user_id)
            held = await session.scalar(select(func.count()).where(ApiKeyRow.user_id == user_id)) or 0
            if held >= self._most:
                raise TooManyKeys(self._most)
            session.add(row)
        return MadeKey(row=row, secret=secret)

    async def of(self, user_id: UUID) -> list[ApiKeyRow]:
        """The newest first. Raises `AccountGone`."""
        async with self._sessions() as session:
            await user_by_id(session, user_id)
            keys = select(ApiKeyRow).where(ApiKeyRow.user_id == user_id).order_by(ApiKeyRow.id.desc())
            return list(await session.scalars(keys))

    async def delete(self, user_id: UUID, key_id: UUID) -> None:
        """Raises `AccountGone`, `ApiKeyNotFound`."""
        async with self._sessions.begin() as session:
            await user_by_id(session, user_id)
            deleting = delete(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.user_id == user_id)
            if await session.scalar(deleting.returning(ApiKeyRow.id)) is None:
                raise ApiKeyNotFound(key_id)


class ExchangeKey:
    """Gives the gateway a token for the holder of an API key; never for longer than the key itself is good."""

    def __init__(self, sessions: Sessions, *, ring: KeyRing, seconds: int) -> None:
        self._sessions = sessions
        self._ring = ring
        self._seconds = seconds

    async def __call__(self, secret: str) -> AccessToken:
        """Raises `InvalidApiKey`."""
        signing = (await self._ring.keys()).signing
        async with self._sessions.begin() as session:
            holder = await _holder(session, digest(secret))
            if holder is None:
                raise InvalidApiKey
            await _note_use(session, holder.key_id)
        seconds = self._seconds if holder.seconds_left is None else min(self._seconds, int(holder.seconds_left))
        return mint(signing, user_id=holder.user_id, email=holder.email, seconds=seconds)


@dataclass(frozen=True)
class _Holder:
    """Who holds a key, and how long it is good."""

    key_id: UUID
    user_id: UUID
    email: str
    seconds_left: float | None


async def _holder(session: AsyncSession, key_digest: bytes) -> _Holder | None:
    left = func.extract("epoch", ApiKeyRow.expires_at - func.now())
    finding = (
        select(ApiKeyRow.id, UserRow.id, UserRow.email, left)
        .join(UserRow, UserRow.id == ApiKeyRow.user_id)
        # A second is the least that a token can live.
        .where(ApiKeyRow.digest == key_digest, or_(ApiKeyRow.expires_at.is_(None), left >= 1))
    )
    found = (await session.execute(finding)).one_or_none()
    return None if found is None else _Holder(*found)


async def _note_use(session: AsyncSession, key_id: UUID) -> None:
    noted_long_ago = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < func.now() - _USE_NOTED_EVERY)
    await session.execute(
        update(ApiKeyRow).where(ApiKeyRow.id == key_id, noted_long_ago).values(last_used_at=func.now())
    )

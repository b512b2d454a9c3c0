"""Pairs of tokens: a short-lived one to show, and a long-lived one, spent when it is used, to get the next pair."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from chassis.ids import uuid7
from sqlalchemy import Interval, Uuid, bindparam, func, text
from sqlalchemy.ext.asyncio import AsyncSession

from auth.minting import AccessToken, mint
from auth.opaque import digest, new_refresh_token
from auth.signing import KeyRing, SigningKey
from auth.tables import RefreshTokenRow, UserRow

# A foreign key is looked at when the statement ends: by then the family is there.
_BEGIN = text("""
    WITH family AS (INSERT INTO refresh_families (id, user_id) VALUES (:family, :user) RETURNING id)
    INSERT INTO refresh_tokens (digest, family_id, expires_at) SELECT :digest, id, now() + :life FROM family
""").bindparams(bindparam("family", type_=Uuid()), bindparam("user", type_=Uuid()), bindparam("life", type_=Interval()))


@dataclass(frozen=True)
class TokenPair:
    """What a login gives."""

    user: UserRow
    access: AccessToken
    refresh_token: str


class Issuer:
    """Issues pairs. The key is fetched before the transaction that keeps the refresh token begins."""

    def __init__(self, ring: KeyRing, *, access_seconds: int, refresh_life: timedelta) -> None:
        self._ring = ring
        self._access_seconds = access_seconds
        self._refresh_life = refresh_life

    async def key(self) -> SigningKey:
        return (await self._ring.keys()).signing

    async def begin_family(self, session: AsyncSession, user: UserRow, key: SigningKey) -> TokenPair:
        """The first pair after a login: family and token in one statement, for a person waits."""
        token, family_id = new_refresh_token(), uuid7()
        values = {"family": family_id, "user": user.id, "digest": digest(token), "life": self._refresh_life}
        await session.execute(_BEGIN, values)
        return TokenPair(user=user, access=self._mint(user, key), refresh_token=token)

    def continue_family(self, session: AsyncSession, family_id: UUID, *, user: UserRow, key: SigningKey) -> TokenPair:
        """The next pair of a login."""
        refresh_token = new_refresh_token()
        session.add(
            RefreshTokenRow(
                digest=digest(refresh_token), family_id=family_id, expires_at=func.now() + self._refresh_life
            )
        )
        return TokenPair(user=user, access=self._mint(user, key), refresh_token=refresh_token)

    def _mint(self, user: UserRow, key: SigningKey) -> AccessToken:
        return mint(key, user_id=user.id, email=user.email, seconds=self._access_seconds)

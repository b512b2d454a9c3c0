"""Pairs of tokens: a short-lived one to show, and a long-lived one, spent when it is used, to get the next pair."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from chassis.ids import uuid7
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from auth.minting import AccessToken, mint
from auth.opaque import digest, new_refresh_token
from auth.signing import KeyRing, SigningKey
from auth.tables import RefreshFamilyRow, RefreshTokenRow, UserRow


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
        """The first pair after a login."""
        family = RefreshFamilyRow(id=uuid7(), user_id=user.id)
        session.add(family)
        await session.flush()
        return self.continue_family(session, family.id, user=user, key=key)

    def continue_family(self, session: AsyncSession, family_id: UUID, *, user: UserRow, key: SigningKey) -> TokenPair:
        """The next pair of a login."""
        refresh_token = new_refresh_token()
        session.add(
            RefreshTokenRow(
                digest=digest(refresh_token), family_id=family_id, expires_at=func.now() + self._refresh_life
            )
        )
        access = mint(key, user_id=user.id, email=user.email, seconds=self._access_seconds)
        return TokenPair(user=user, access=access, refresh_token=refresh_token)

"""Pairs of tokens: a short-lived one to show, and a long-lived one, spent when it is used, to get the next pair."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from chassis.ids import uuid7
from chassis.transactions import Driver
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from auth.minting import AccessToken, mint
from auth.opaque import digest, new_refresh_token
from auth.repository import Person
from auth.signing import KeyRing, SigningKey
from auth.tables import RefreshTokenRow

# A foreign key is looked at when the statement ends: by then the family is there.
_BEGIN = """
    WITH family AS (INSERT INTO refresh_families (id, user_id) VALUES ($1, $2) RETURNING id)
    INSERT INTO refresh_tokens (digest, family_id, expires_at) SELECT $3, id, now() + $4 FROM family
"""


@dataclass(frozen=True)
class TokenPair:
    """What a login gives."""

    person: Person
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

    async def begin_family(self, driver: Driver, person: Person, key: SigningKey) -> TokenPair:
        """The first pair after a login: family and token in one statement, for a person waits."""
        token = new_refresh_token()
        await driver.execute(_BEGIN, uuid7(), person.id, digest(token), self._refresh_life)
        return TokenPair(person=person, access=self._mint(person, key), refresh_token=token)

    def continue_family(self, session: AsyncSession, family_id: UUID, *, person: Person, key: SigningKey) -> TokenPair:
        """The next pair of a login."""
        refresh_token = new_refresh_token()
        session.add(
            RefreshTokenRow(
                digest=digest(refresh_token), family_id=family_id, expires_at=func.now() + self._refresh_life
            )
        )
        return TokenPair(person=person, access=self._mint(person, key), refresh_token=refresh_token)

    def _mint(self, person: Person, key: SigningKey) -> AccessToken:
        return mint(key, user_id=person.id, email=person.email, seconds=self._access_seconds)

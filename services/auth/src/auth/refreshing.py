"""Spend a refresh token for the next pair."""

import structlog
from chassis.database import Sessions
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.errors import InvalidRefreshToken
from auth.issuing import Issuer, TokenPair
from auth.opaque import digest
from auth.repository import Person, end_family, user_by_id
from auth.signing import SigningKey
from auth.tables import RefreshFamilyRow, RefreshTokenRow

log = structlog.stdlib.get_logger(__name__)


class Refresh:
    """A token works once. Whoever uses it again ends the family: either of the two may be a thief."""

    def __init__(self, sessions: Sessions, issuer: Issuer) -> None:
        self._sessions = sessions
        self._issuer = issuer

    async def __call__(self, refresh_token: str) -> TokenPair:
        """Raises `InvalidRefreshToken`."""
        key = await self._issuer.key()
        async with self._sessions.begin() as session:
            pair = await self._rotate(session, digest(refresh_token), key)
        if pair is None:  # raised out here: the end of a family must be committed
            raise InvalidRefreshToken
        return pair

    async def _rotate(self, session: AsyncSession, token_digest: bytes, key: SigningKey) -> TokenPair | None:
        family = await _lock_family(session, token_digest)
        if family is None:
            return None
        expired: ColumnElement[bool] = RefreshTokenRow.expires_at <= func.now()
        token, is_expired = (
            await session.execute(select(RefreshTokenRow, expired).where(RefreshTokenRow.digest == token_digest))
        ).one()
        if is_expired:
            return None
        if token.spent_at is not None:
            log.warning("a refresh token was used again", user_id=str(family.user_id), family_id=str(family.id))
            await end_family(session, token_digest)
            return None
        token.spent_at = func.now()
        person = Person.of(await user_by_id(session, family.user_id))
        return self._issuer.continue_family(session, family.id, person=person, key=key)


async def _lock_family(session: AsyncSession, token_digest: bytes) -> RefreshFamilyRow | None:
    """One request of a family at a time. The token is read after this, as the request before left it."""
    of_token = select(RefreshTokenRow.family_id).where(RefreshTokenRow.digest == token_digest).scalar_subquery()
    family: RefreshFamilyRow | None = await session.scalar(
        select(RefreshFamilyRow).where(RefreshFamilyRow.id == of_token).with_for_update()
    )
    return family

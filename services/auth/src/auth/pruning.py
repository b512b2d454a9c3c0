"""Forget what no longer matters."""

from datetime import timedelta

from messaging.housekeeping import AT_ONCE, delete_all
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.tables import LoginFailureRow, RefreshFamilyRow, RefreshTokenRow


async def prune_refresh_tokens(session: AsyncSession) -> None:
    """Expired tokens, spent or not, then logins of which no token is left. What somebody has locked is left alone."""
    tokens = (
        select(RefreshTokenRow.digest)
        .where(RefreshTokenRow.expires_at < func.now())
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    await delete_all(session, delete(RefreshTokenRow).where(RefreshTokenRow.digest.in_(tokens)))
    of_family = select(RefreshTokenRow.digest).where(RefreshTokenRow.family_id == RefreshFamilyRow.id)
    families = select(RefreshFamilyRow.id).where(~of_family.exists()).limit(AT_ONCE).with_for_update(skip_locked=True)
    await delete_all(session, delete(RefreshFamilyRow).where(RefreshFamilyRow.id.in_(families)))


async def prune_login_failures(session: AsyncSession, *, older_than: timedelta) -> None:
    """Failures that have stopped counting."""
    await session.execute(delete(LoginFailureRow).where(LoginFailureRow.failed_at < func.now() - older_than))

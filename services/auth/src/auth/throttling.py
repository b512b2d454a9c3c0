"""Guessing passwords is slow: so many failures per account and window, counted in the database for all replicas."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from auth.emails import compared
from auth.errors import TooManyFailures
from auth.tables import LoginFailureRow


@dataclass(frozen=True)
class Throttle:
    """At most `failures` within `window`. An unknown account is throttled like a known one: this tells nothing."""

    failures: int
    window: timedelta

    async def refuse_if_used_up(self, session: AsyncSession, account: bytes) -> int:
        """How many failures there are. Raises `TooManyFailures`."""
        counting = (
            select(LoginFailureRow.failed_at)
            .where(LoginFailureRow.account == account, LoginFailureRow.failed_at > func.now() - self.window)
            .order_by(LoginFailureRow.failed_at.desc())
            .limit(self.failures)
            .subquery()
        )
        remaining = func.extract("epoch", func.min(counting.c.failed_at) + self.window - func.now())
        count, seconds = (await session.execute(select(func.count(), remaining).select_from(counting))).one()
        if count >= self.failures:
            raise TooManyFailures(retry_after=float(seconds))
        return int(count)

    async def lock(self, session: AsyncSession, account: bytes) -> int:
        """Verdicts about one account come one after another: of guesses made at once, only so many learn anything.

        How many failures there are. Raises `TooManyFailures`.
        """
        await session.execute(
            text("SELECT pg_advisory_xact_lock(:account)"),
            {"account": int.from_bytes(account[:8], "big", signed=True)},
        )
        return await self.refuse_if_used_up(session, account)

    async def count(self, session: AsyncSession, account: bytes) -> None:
        """One more failure."""
        session.add(LoginFailureRow(account=account))

    async def forget(self, session: AsyncSession, account: bytes) -> None:
        """The right password was given, or the account is gone."""
        await session.execute(delete(LoginFailureRow).where(LoginFailureRow.account == account))


def account_of(email: str) -> bytes:
    """The account that an address names, without the address."""
    return hashlib.sha256(compared(email).encode()).digest()

"""Guessing passwords is slow: so many failures per account and window, counted in the database for all replicas."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from asyncpg import Record
from chassis.transactions import Driver

from auth.emails import compared
from auth.errors import TooManyFailures

USED = """
    SELECT count(*) AS failures, extract(epoch FROM min(failed_at) + $2 - now())::float8 AS seconds
    FROM (
        SELECT failed_at FROM login_failures WHERE account = $1 AND failed_at > now() - $2::interval
        ORDER BY failed_at DESC LIMIT $3
    ) AS latest
"""
"""Failures that count, and seconds until the first of them does not any more. Its parameters are `Throttle.asks`."""

_LOCK = "SELECT pg_advisory_xact_lock($1)"
_COUNT = "INSERT INTO login_failures (account) VALUES ($1)"
_FORGET = "DELETE FROM login_failures WHERE account = $1"


@dataclass(frozen=True)
class Throttle:
    """At most `failures` within `window`. An unknown account is throttled like a known one: this tells nothing."""

    failures: int
    window: timedelta

    def asks(self, account: bytes) -> tuple[bytes, timedelta, int]:
        return account, self.window, self.failures

    def refuse_if_used_up(self, used: Record) -> int:
        """How many failures there are. Raises `TooManyFailures`."""
        failures: int = used["failures"]
        if failures >= self.failures:
            raise TooManyFailures(retry_after=used["seconds"])
        return failures

    async def lock(self, driver: Driver, account: bytes) -> int:
        """Verdicts about one account come one after another: of guesses made at once, only so many learn anything.

        How many failures there are. Raises `TooManyFailures`.
        """
        await driver.execute(_LOCK, int.from_bytes(account[:8], "big", signed=True))
        # After the lock, and not with it: a statement sees what was committed when it began.
        used = await driver.fetchrow(USED, *self.asks(account))
        assert used is not None
        return self.refuse_if_used_up(used)

    async def count(self, driver: Driver, account: bytes) -> None:
        """One more failure."""
        await driver.execute(_COUNT, account)

    async def forget(self, driver: Driver, account: bytes) -> None:
        """The right password was given, or the account is gone."""
        await driver.execute(_FORGET, account)


def account_of(email: str) -> bytes:
    """The account that an address names, without the address."""
    return hashlib.sha256(compared(email).encode()).digest()

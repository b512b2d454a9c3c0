"""Prove that one knows an account's password."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from chassis.database import Sessions
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.errors import BadCredentials
from auth.passwords import Passwords
from auth.tables import UserRow
from auth.throttling import Throttle, account_of

T = TypeVar("T")


class Prove:
    """Compares a password and then, in the transaction that gives the verdict, does what it was asked for.

    An unknown account and a wrong password look alike: the same answer, and the same work done for it.
    """

    def __init__(self, sessions: Sessions, *, reads: Sessions, passwords: Passwords, throttle: Throttle) -> None:
        self._sessions = sessions
        self._reads = reads
        self._passwords = passwords
        self._throttle = throttle

    async def __call__(
        self,
        email: str,
        password: str,
        *,
        find: Callable[[AsyncSession], Awaitable[UserRow | None]],
        then: Callable[[AsyncSession, UserRow], Awaitable[T]],
    ) -> T:
        """What `then` gives for the user whom `find` found; by then the account may have been deleted.

        Raises `BadCredentials`, `TooManyFailures`, `HashingBusy`.
        """
        account = account_of(email)
        async with self._reads() as session:
            await self._throttle.refuse_if_used_up(session, account)
            user = await find(session)
        comparison = await self._passwords.compare(password, user.password_hash if user else None)
        async with self._sessions.begin() as session:
            failures = await self._throttle.lock(session, account)
            if comparison.right and user is not None:
                if failures:
                    await self._throttle.forget(session, account)
                if comparison.fresh_hash is not None:
                    await _keep(session, user, comparison.fresh_hash)
                return await then(session, user)
            await self._throttle.count(session, account)
        raise BadCredentials


async def _keep(session: AsyncSession, user: UserRow, password_hash: str) -> None:
    await session.execute(update(UserRow).where(UserRow.id == user.id).values(password_hash=password_hash))

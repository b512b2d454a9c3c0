"""Prove that one knows an account's password."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from chassis.transactions import Transactions, driver_of
from sqlalchemy.ext.asyncio import AsyncSession

from auth.errors import BadCredentials
from auth.passwords import Passwords
from auth.repository import Person, keep_password_hash, known_by_email
from auth.throttling import Throttle, account_of

T = TypeVar("T")


class Prove:
    """Compares a password and then, in the transaction that gives the verdict, does what it was asked for.

    An unknown account and a wrong password look alike: the same answer, and the same work done for it.
    """

    def __init__(self, transactions: Transactions, *, passwords: Passwords, throttle: Throttle) -> None:
        self._transactions = transactions
        self._passwords = passwords
        self._throttle = throttle

    async def __call__(self, email: str, password: str, *, then: Callable[[AsyncSession, Person], Awaitable[T]]) -> T:
        """What `then` gives for the person with this address; by then the account may have been deleted.

        Raises `BadCredentials`, `TooManyFailures`, `HashingBusy`.
        """
        account = account_of(email)
        async with self._transactions.driver() as driver:
            await self._throttle.refuse_if_used_up(driver, account)
            known = await known_by_email(driver, email)
        comparison = await self._passwords.compare(password, known.password_hash if known else None)
        async with self._transactions.begin() as session:
            driver = await driver_of(session)
            failures = await self._throttle.lock(driver, account)
            if comparison.right and known is not None:
                if failures:
                    await self._throttle.forget(driver, account)
                if comparison.fresh_hash is not None:
                    await keep_password_hash(driver, known.person, comparison.fresh_hash)
                return await then(session, known.person)
            await self._throttle.count(driver, account)
        raise BadCredentials

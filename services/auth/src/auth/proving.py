"""Prove that one knows an account's password."""

from dataclasses import dataclass

from asyncpg import Record
from chassis.transactions import Driver, Transactions

from auth.emails import compared
from auth.passwords import Passwords
from auth.repository import Person
from auth.throttling import USED, Throttle, account_of

_LOOK = f"""
    SELECT failures, seconds, id, email, name, created_at, password_hash
    FROM ({USED}) AS used LEFT JOIN users ON compared_email = $4
"""  # noqa: S608 - both are constants
_KEEP = "UPDATE users SET password_hash = $2 WHERE id = $1"


@dataclass(frozen=True)
class Claim:
    """What was said of an account, compared but not yet judged: `person` is whoever gave the right password."""

    account: bytes
    person: Person | None
    fresh_hash: str | None


class Prove:
    """Compares a password, and then gives the verdict in the transaction that does what it was asked for.

    An unknown account and a wrong password look alike: the same answer, and the same work done for it.
    """

    def __init__(self, transactions: Transactions, *, passwords: Passwords, throttle: Throttle) -> None:
        self._transactions = transactions
        self._passwords = passwords
        self._throttle = throttle

    async def compare(self, email: str, password: str) -> Claim:
        """Takes as long as a hash. Raises `TooManyFailures`, `HashingBusy`."""
        account = account_of(email)
        async with self._transactions.driver() as driver:
            found = await driver.fetchrow(_LOOK, *self._throttle.asks(account), compared(email))
        assert found is not None
        self._throttle.refuse_if_used_up(found)
        comparison = await self._passwords.compare(password, found["password_hash"])
        person = _person(found) if comparison.right else None
        return Claim(account=account, person=person, fresh_hash=comparison.fresh_hash)

    async def judge(self, driver: Driver, claim: Claim) -> Person | None:
        """Whose password it was, though their account may be deleted by now; None is a failure that is counted.

        To be called within a transaction that is committed either way. Raises `TooManyFailures`.
        """
        failures = await self._throttle.lock(driver, claim.account)
        if claim.person is None:
            await self._throttle.count(driver, claim.account)
            return None
        if failures:
            await self._throttle.forget(driver, claim.account)
        if claim.fresh_hash is not None:
            await driver.execute(_KEEP, claim.person.id, claim.fresh_hash)
        return claim.person


def _person(found: Record) -> Person:
    return Person(id=found["id"], email=found["email"], name=found["name"], created_at=found["created_at"])

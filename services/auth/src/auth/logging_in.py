"""Log in with a password."""

from asyncpg import ForeignKeyViolationError
from chassis.transactions import Transactions

from auth.errors import BadCredentials
from auth.issuing import Issuer, TokenPair
from auth.proving import Prove


class LogIn:
    """Begins a family of refresh tokens for whoever knows the password."""

    def __init__(self, transactions: Transactions, *, prove: Prove, issuer: Issuer) -> None:
        self._transactions = transactions
        self._prove = prove
        self._issuer = issuer

    async def __call__(self, email: str, password: str) -> TokenPair:
        """Raises `BadCredentials`, `TooManyFailures`, `HashingBusy`."""
        key = await self._issuer.key()
        claim = await self._prove.compare(email, password)
        try:
            async with self._transactions.driver() as driver, driver.transaction():
                if person := await self._prove.judge(driver, claim):
                    return await self._issuer.begin_family(driver, person, key)
        except ForeignKeyViolationError:  # a family needs its user, who has been deleted meanwhile
            raise BadCredentials from None
        raise BadCredentials

"""Log in with a password."""

from asyncpg import ForeignKeyViolationError

from auth.errors import BadCredentials
from auth.issuing import Issuer, TokenPair
from auth.proving import Prove


class LogIn:
    """Begins a family of refresh tokens for whoever knows the password."""

    def __init__(self, prove: Prove, issuer: Issuer) -> None:
        self._prove = prove
        self._issuer = issuer

    async def __call__(self, email: str, password: str) -> TokenPair:
        """Raises `BadCredentials`, `TooManyFailures`, `HashingBusy`."""
        key = await self._issuer.key()
        try:
            return await self._prove(
                email, password, then=lambda session, person: self._issuer.begin_family(session, person, key)
            )
        except ForeignKeyViolationError:  # a family needs its user, who has been deleted meanwhile
            raise BadCredentials from None

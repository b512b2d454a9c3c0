"""Log in with a password."""

from sqlalchemy.exc import IntegrityError

from auth.errors import BadCredentials
from auth.issuing import Issuer, TokenPair
from auth.proving import Prove
from auth.repository import user_by_email


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
                email,
                password,
                find=lambda session: user_by_email(session, email),
                then=lambda session, user: self._issuer.begin_family(session, user, key),
            )
        except IntegrityError:  # a family needs its user, who has been deleted meanwhile
            raise BadCredentials from None

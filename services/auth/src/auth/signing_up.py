"""Open an account."""

from chassis.database import Sessions
from chassis.ids import uuid7
from chassis.transactions import driver_of
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.emails import compared
from auth.errors import EmailTaken
from auth.issuing import Issuer, TokenPair
from auth.passwords import Passwords
from auth.repository import Person
from auth.tables import UserRow


class SignUp:
    """Of two sign-ups with one address at once, one succeeds."""

    def __init__(self, sessions: Sessions, *, passwords: Passwords, issuer: Issuer) -> None:
        self._sessions = sessions
        self._passwords = passwords
        self._issuer = issuer

    async def __call__(self, email: str, password: str, name: str | None) -> TokenPair:
        """The new account's first tokens. Raises `EmailTaken`."""
        password_hash = await self._passwords.hash(password)
        key = await self._issuer.key()
        async with self._sessions.begin() as session:
            user = await _add_user(session, email=email, name=name, password_hash=password_hash)
            return await self._issuer.begin_family(await driver_of(session), Person.of(user), key)


async def _add_user(session: AsyncSession, *, email: str, name: str | None, password_hash: str) -> UserRow:
    adding = (
        insert(UserRow)
        .values(id=uuid7(), email=email, compared_email=compared(email), name=name, password_hash=password_hash)
        .on_conflict_do_nothing(index_elements=[UserRow.compared_email])
        .returning(UserRow)
    )
    user: UserRow | None = await session.scalar(adding)
    if user is None:
        raise EmailTaken
    return user

"""Log out."""

from chassis.database import Sessions

from auth.opaque import digest
from auth.repository import end_family


class LogOut:
    """Ends the family of a refresh token, spent ones included; a token that is none of ours ends nothing."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def __call__(self, refresh_token: str) -> None:
        async with self._sessions.begin() as session:
            await end_family(session, digest(refresh_token))

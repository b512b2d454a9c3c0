"""Which kinds of work a transaction has made, so that its own process need not wait to be notified."""

from sqlalchemy.ext.asyncio import AsyncSession

_KEY = "messaging.woken"


def wake_after_commit(session: AsyncSession, *kinds: str) -> None:
    """Note that jobs of these kinds will be due once the session's transaction commits."""
    if kinds:
        session.info.setdefault(_KEY, set()).update(kinds)


def woken_by(session: AsyncSession) -> frozenset[str]:
    """The kinds that the session's transaction has made work for."""
    return frozenset(session.info.get(_KEY, ()))

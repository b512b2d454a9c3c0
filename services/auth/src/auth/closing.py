"""Delete an account: erased here at once, and everywhere else as soon as they hear of it."""

from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from chassis.database import Sessions
from chassis.doubling import doubled
from chassis.transactions import driver_of
from contracts.facts import UserDeleted
from messaging import fences
from messaging.outbox import Outbox
from sqlalchemy import ColumnElement, CursorResult, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.errors import BadCredentials
from auth.proving import Prove
from auth.repository import lock_user, user_by_id
from auth.tables import AccountDeletionRow, ApiKeyRow, RefreshFamilyRow, RefreshTokenRow, Row, UserRow

log = structlog.stdlib.get_logger(__name__)

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
"""How long auth waits before it says again that an account is deleted: twice as long each time, up to this."""

_ALERT_ROUND = 8  # by now it has been said for two hours
_AT_ONCE = 100


class CloseAccount:
    """Erases an account for whoever knows its password, and says so in the same transaction."""

    def __init__(self, sessions: Sessions, *, prove: Prove, outbox: Outbox) -> None:
        self._sessions = sessions
        self._prove = prove
        self._outbox = outbox

    async def __call__(self, user_id: UUID, password: str) -> UUID:
        """The id of the receipt. Raises `AccountGone`, `BadCredentials`, `TooManyFailures`, `HashingBusy`."""
        async with self._sessions() as session:
            email = (await user_by_id(session, user_id)).email
        claim = await self._prove.compare(email, password)
        async with self._sessions.begin() as session:
            if await self._prove.judge(await driver_of(session), claim):
                return await self._erase(session, user_id)  # by id, for somebody else may have the address by now
        raise BadCredentials

    async def _erase(self, session: AsyncSession, user_id: UUID) -> UUID:
        fence = await fences.lock(session, user_id)
        fence.delete()
        erased = await _erase_rows(session, user_id)
        deletion = AccountDeletionRow(
            deletion_id=uuid4(),  # random throughout: whoever knows it may read the receipt
            user_id=user_id,
            say_again_at=func.now() + FIRST_PAUSE,
            erased=erased,
        )
        session.add(deletion)
        remaining = await _count_rows(session, user_id)
        self._outbox.add(
            session,
            UserDeleted(user_id=user_id, deletion_id=deletion.deletion_id, erased=erased, remaining=remaining),
        )
        return deletion.deletion_id


async def say_again(session: AsyncSession, outbox: Outbox) -> None:
    """Say deletions again that some service has not answered for a while."""
    unanswered = (
        select(AccountDeletionRow)
        .where(AccountDeletionRow.say_again_at <= func.now())
        .order_by(AccountDeletionRow.say_again_at)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    for deletion in await session.scalars(unanswered):
        deletion.round += 1
        deletion.say_again_at = func.now() + doubled(FIRST_PAUSE, deletion.round, ceiling=LONGEST_PAUSE)
        outbox.add(
            session,
            UserDeleted(
                user_id=deletion.user_id,
                deletion_id=deletion.deletion_id,
                round=deletion.round,
                erased=deletion.erased,
            ),
        )
        if deletion.round >= _ALERT_ROUND:
            log.error("an account's deletion is not complete", deletion_id=str(deletion.deletion_id))


async def hurry(sessions: Sessions) -> None:
    """The broker has lost what it knew: say all of it again at the next opportunity."""
    async with sessions.begin() as session:
        await session.execute(update(AccountDeletionRow).values(say_again_at=func.now()))


def _rows_of(user_id: UUID) -> list[tuple[type[Row], ColumnElement[bool]]]:
    """Everything that auth keeps of a user, children first."""
    families = select(RefreshFamilyRow.id).where(RefreshFamilyRow.user_id == user_id)
    return [
        (RefreshTokenRow, RefreshTokenRow.family_id.in_(families)),
        (RefreshFamilyRow, RefreshFamilyRow.user_id == user_id),
        (ApiKeyRow, ApiKeyRow.user_id == user_id),
        (UserRow, UserRow.id == user_id),
    ]


async def _erase_rows(session: AsyncSession, user_id: UUID) -> int:
    """Erase all rows of a user, and say how many there were."""
    # While these are locked, no family is added, and no token follows another: refreshing locks its family first, too.
    await lock_user(session, user_id)
    await session.scalars(select(RefreshFamilyRow.id).where(RefreshFamilyRow.user_id == user_id).with_for_update())
    erased = 0
    for table, of_user in _rows_of(user_id):
        result = await session.execute(delete(table).where(of_user).execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        erased += result.rowcount
    return erased


async def _count_rows(session: AsyncSession, user_id: UUID) -> int:
    """What is left of a user."""
    counts = [
        select(func.count()).select_from(table).where(of_user).scalar_subquery() for table, of_user in _rows_of(user_id)
    ]
    return sum((await session.execute(select(*counts))).one())

"""What auth hears: that another service holds nothing of a deleted account any more."""

from contracts.facts import UserPurged
from contracts.topics import USERS
from messaging.fences import Fence
from messaging.subscribing import Subscription
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from auth.tables import AccountDeletionRow


async def note_purged(session: AsyncSession, fence: Fence, purged: UserPurged) -> None:
    """When the last one has said so, the deletion itself is erased, and is said no more."""
    del fence  # it is locked, and that is all that is needed of it
    deletion = await session.get(AccountDeletionRow, purged.deletion_id, with_for_update=True)
    if deletion is None or deletion.user_id != purged.user_id or purged.remaining:
        return
    if purged.service == "gateway":
        deletion.gateway_purged_at = deletion.gateway_purged_at or func.now()
    else:
        deletion.qa_purged_at = deletion.qa_purged_at or func.now()
    if deletion.gateway_purged_at is not None and deletion.qa_purged_at is not None:
        await session.delete(deletion)


def subscriptions() -> list[Subscription]:
    return [Subscription(USERS, {UserPurged: note_purged})]

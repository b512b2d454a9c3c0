"""Closing an account: out at once, then every document is deleted, then the last word that nothing is left."""

from typing import ClassVar
from uuid import UUID

from chassis.database import Sessions, retry_deadlock
from chassis.objects import ObjectStore
from contracts.facts import UserDeleted, UserPurged
from contracts.objects import owner_prefix
from contracts.topics import USERS
from messaging import fences, jobs
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.workers import Finish, Work
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import deleting, idempotency, owners, receipts
from gateway.purging import erase
from gateway.receipts import FAREWELL
from gateway.tables import NOT_DELETING, DeletionRow, DocumentRow

CLOSURE = "closure"
"""The kind of job that turns a closed account into one deletion a document."""

BATCH = 50


class CloseAccount:
    """Closes an account that auth has accepted to delete, before its holder gets an answer."""

    def __init__(self, *, sessions: Sessions) -> None:
        self._sessions = sessions

    async def __call__(self, owner: UUID, deletion: UUID) -> None:
        """Safe to run twice: auth says it as a fact as well."""
        await retry_deadlock(lambda: self._close(owner, deletion))

    async def _close(self, owner: UUID, deletion: UUID) -> None:
        async with self._sessions.begin() as session:
            await close(session, await fences.lock(session, owner), owner, deletion)


async def close(session: AsyncSession, fence: Fence, owner: UUID, deletion: UUID) -> None:
    """Closed from this transaction on."""
    fence.delete()
    receipt = insert(DeletionRow).values(id=deletion, owner_id=owner, document_id=None)
    await session.execute(receipt.on_conflict_do_nothing())
    await jobs.add(session, kind=CLOSURE, subject=owner, version=1, owner=owner)
    await owners.close(session, owner)


async def hear_deleted(session: AsyncSession, fence: Fence, fact: UserDeleted, outbox: Outbox) -> None:
    """The closure, if it was not heard over HTTP; auth's receipt; and the last word again, if it is asked for."""
    await close(session, fence, fact.user_id, fact.deletion_id)
    await receipts.enter_account(session, fact.deletion_id, store="auth", erased=fact.erased, remaining=fact.remaining)
    if (again := fence.answer_round(fact)) is not None:
        outbox.add(session, again)


class Closure(Work):
    """Deletes every document of a closed account, a few in a transaction."""

    kind = CLOSURE
    about: ClassVar[str] = USERS.key
    max_tries = None

    def __init__(self, *, sessions: Sessions, outbox: Outbox) -> None:
        self._sessions = sessions
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        owner = UUID(job.owner)
        while await retry_deadlock(lambda: self._delete_some(owner)):
            pass

        async def finish(session: AsyncSession, _fence: Fence) -> None:
            # Under the owner's lock: of two transactions that end the last documents, one sees that both are gone.
            await owners.lock(session, owner)
            await receipts.add_farewell(session, owner)

        return finish

    async def _delete_some(self, owner: UUID) -> bool:
        async with self._sessions.begin() as session:
            some = await session.scalars(
                select(DocumentRow.id).where(DocumentRow.owner_id == owner, NOT_DELETING).limit(BATCH)
            )
            documents = some.all()
            await deleting.begin(session, self._outbox, owner, documents)
        return bool(documents)


class Farewell(Work):
    """Once every document has its receipt: erases the last of the account, and says so."""

    kind = FAREWELL
    about: ClassVar[str] = USERS.key
    max_tries = None

    def __init__(self, *, store: ObjectStore, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        owner = UUID(job.owner)
        await erase(self._store, owner_prefix(owner))

        async def finish(session: AsyncSession, fence: Fence) -> None:
            await idempotency.forget(session, owner)
            deletion = await self._account(session, owner)
            fact = UserPurged(
                user_id=owner,
                deletion_id=deletion,
                service="gateway",
                erased=await self._documents(session, owner),
                remaining=0,
            )
            fence.conclude(fact)
            self._outbox.add(session, fact)
            await receipts.enter_account(
                session, deletion, store="gateway", erased=fact.erased, remaining=fact.remaining
            )

        return finish

    async def _account(self, session: AsyncSession, owner: UUID) -> UUID:
        of_account = select(DeletionRow.id).where(DeletionRow.owner_id == owner, DeletionRow.document_id.is_(None))
        return (await session.scalars(of_account.order_by(DeletionRow.requested_at).limit(1))).one()

    async def _documents(self, session: AsyncSession, owner: UUID) -> int:
        ended = select(func.count()).where(DeletionRow.owner_id == owner, DeletionRow.document_id.is_not(None))
        return await session.scalar(ended) or 0

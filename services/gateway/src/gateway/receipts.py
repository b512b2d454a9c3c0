"""Receipts: what each store erased and counted afterwards; complete once all have counted to zero."""

from collections.abc import Mapping
from uuid import UUID

from chassis.database import Sessions
from contracts.documents import Deletion, StoreReceipt
from contracts.facts import DocumentPurged
from messaging import jobs
from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import owners
from gateway.errors import DeletionNotFound
from gateway.tables import DeletionRow, DocumentRow, ReceiptRow

FILES = "files"
"""The gateway's own store, as a receipt calls it."""

DOCUMENT_STORES = frozenset({"ingest", "embedder", "qa", FILES})
ACCOUNT_STORES = frozenset({"auth", "gateway", "qa"})

FAREWELL = "farewell"
"""The kind of job that looks whether anything is left of an account, and says so."""


class ReadDeletion:
    """Shows receipts: a document's to its owner, an account's to whoever knows its id."""

    def __init__(self, *, reads: Sessions) -> None:
        self._reads = reads

    async def of_account(self, deletion: UUID) -> Deletion | None:
        """An account's receipt: nobody can log in to read it any more."""
        async with self._reads() as session:
            row = await session.get(DeletionRow, deletion)
            return None if row is None or row.document_id is not None else await _show(session, row)

    async def of_document(self, owner: UUID, deletion: UUID) -> Deletion:
        """Raises `DeletionNotFound`, also for somebody else's."""
        async with self._reads() as session:
            row = await session.get(DeletionRow, deletion)
            if row is None or row.owner_id != owner:
                raise DeletionNotFound(deletion)
            return await _show(session, row)


async def enter(session: AsyncSession, fact: DocumentPurged) -> None:
    """Note what one store says it has erased of a document. Heard again, it changes nothing."""
    deletion = await _lock(session, fact.deletion_id)
    if deletion is None or deletion.document_id != fact.document_id:
        return
    store = FILES if fact.service == "gateway" else fact.service
    if await _is_news(session, deletion, store, fact):
        deletion.ask_at, deletion.unanswered = None, 0
    receipts = await _write(
        session, deletion, store, erased=fact.erased, remaining=fact.remaining, verified=fact.verified
    )
    deletion.qa_erased = _is_erased(receipts, "qa")
    if _all_verified(receipts) and deletion.verified_at is None:
        deletion.verified_at = func.now()
    if deletion.completed_at is None and all(_is_erased(receipts, one) for one in DOCUMENT_STORES):
        await _complete(session, deletion, fact.document_id)


async def enter_account(session: AsyncSession, deletion_id: UUID, *, store: str, erased: int, remaining: int) -> None:
    """Note that one service holds nothing of an account any more."""
    deletion = await _lock(session, deletion_id)
    if deletion is None or deletion.document_id is not None:
        return
    receipts = await _write(session, deletion, store, erased=erased, remaining=remaining, verified=False)
    if deletion.completed_at is None and all(_is_erased(receipts, one) for one in ACCOUNT_STORES):
        deletion.completed_at = func.now()


async def add_farewell(session: AsyncSession, owner: UUID) -> None:
    """Once the last document of a closed account has its receipt, look at what is left. The owner's row is locked."""
    unfinished = select(DeletionRow.id).where(
        DeletionRow.owner_id == owner, DeletionRow.document_id.is_not(None), DeletionRow.completed_at.is_(None)
    )
    kept = select(DocumentRow.id).where(DocumentRow.owner_id == owner)
    await session.flush()
    if await session.scalar(select(unfinished.exists() | kept.exists())):
        return
    await jobs.add(session, kind=FAREWELL, subject=owner, version=1, owner=owner)


async def _complete(session: AsyncSession, deletion: DeletionRow, document: UUID) -> None:
    """From here on the receipt is all there is: filename, timeline and links go with the row."""
    deletion.completed_at = func.now()
    await session.flush()
    await session.execute(delete(DocumentRow).where(DocumentRow.id == document))
    if await owners.say_gone(session, deletion):
        await add_farewell(session, deletion.owner_id)


async def _lock(session: AsyncSession, deletion: UUID) -> DeletionRow | None:
    return await session.get(DeletionRow, deletion, with_for_update=True, populate_existing=True)


async def _is_news(session: AsyncSession, deletion: DeletionRow, store: str, fact: DocumentPurged) -> bool:
    """Whether it says more than the store's receipt does: a store that answers every round says nothing new."""
    known = await session.get(ReceiptRow, (deletion.id, store))
    if known is None:
        return True
    return not fact.remaining and (known.remaining > 0 or (fact.verified and known.verified_at is None))


async def _write(
    session: AsyncSession, deletion: DeletionRow, store: str, *, erased: int, remaining: int, verified: bool
) -> Mapping[str, ReceiptRow]:
    """All receipts after this one; what was erased first stays, a later look only finds less."""
    new = insert(ReceiptRow).values(
        deletion_id=deletion.id,
        store=store,
        erased=erased,
        remaining=remaining,
        verified_at=func.now() if verified and not remaining else None,
    )
    proved = case((new.excluded.remaining == 0, func.coalesce(ReceiptRow.verified_at, new.excluded.verified_at)))
    await session.execute(
        new.on_conflict_do_update(
            index_elements=[ReceiptRow.deletion_id, ReceiptRow.store],
            set_={
                "erased": func.greatest(ReceiptRow.erased, new.excluded.erased),
                "remaining": new.excluded.remaining,
                "verified_at": proved,
                "at": case((ReceiptRow.remaining > 0, func.now()), else_=ReceiptRow.at),
            },
        )
    )
    rows = await session.scalars(
        select(ReceiptRow).where(ReceiptRow.deletion_id == deletion.id).execution_options(populate_existing=True)
    )
    return {row.store: row for row in rows}


def _is_erased(receipts: Mapping[str, ReceiptRow], store: str) -> bool:
    return store in receipts and receipts[store].remaining == 0


def _all_verified(receipts: Mapping[str, ReceiptRow]) -> bool:
    return all(store in receipts and receipts[store].verified_at is not None for store in DOCUMENT_STORES)


async def _show(session: AsyncSession, row: DeletionRow) -> Deletion:
    receipts = await session.scalars(
        select(ReceiptRow).where(ReceiptRow.deletion_id == row.id).order_by(ReceiptRow.store)
    )
    return Deletion(
        document_id=row.document_id,
        requested_at=row.requested_at,
        completed_at=row.completed_at,
        verified_at=row.verified_at,
        stores={
            receipt.store: StoreReceipt(erased=receipt.erased, remaining=receipt.remaining, at=receipt.at)
            for receipt in receipts
        },
    )

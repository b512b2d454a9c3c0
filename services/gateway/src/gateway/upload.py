"""Upload: objects first, then all rows and what is said of them in one transaction after the last byte."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from chassis.database import Sessions, is_transient, retry_deadlock
from chassis.failures import Failure
from chassis.finishing import to_the_end
from chassis.objects import ObjectStore
from contracts.documents import DocumentStatus, RejectedFile, UploadAnswer, UploadedDocument
from messaging.outbox import Outbox
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import intake, owners, processing, timeline
from gateway.documents import show
from gateway.errors import NothingAccepted, idempotency_mismatch, no_files
from gateway.idempotency import Answered, Claim, Idempotency, KeptDocument
from gateway.intake import Intake, Limits, Part, Received
from gateway.multipart import Multipart
from gateway.reprocess import try_again
from gateway.tables import NOT_DELETING, DocumentRow

_TRIES = 5  # each beyond the first means that the same bytes were deleted in between


@dataclass(frozen=True)
class _Stored:
    """Which document each sha256 became; those in `new` were made by this call."""

    by_sha256: dict[str, UUID]
    new: frozenset[UUID]


class Upload:
    """Takes files from an owner and promises that each ends ready or failed."""

    def __init__(
        self, *, sessions: Sessions, store: ObjectStore, outbox: Outbox, idempotency: Idempotency, limits: Limits
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._outbox = outbox
        self._idempotency = idempotency
        self._limits = limits

    async def __call__(self, owner: UUID, form: Multipart, *, key: str | None = None) -> UploadAnswer:
        """The answer of 202. Raises `NothingAccepted`, `TooManyFiles`, `MalformedBody`; nothing is stored then."""
        claim = await self._idempotency.claim(owner, key) if key else None
        if isinstance(claim, Answered):
            return await self._answer_again(owner, form, claim)
        if claim is None:
            return await self._take(owner, form, None)
        async with self._idempotency.held(claim):
            return await self._take(owner, form, claim)

    async def _take(self, owner: UUID, form: Multipart, claim: Claim | None) -> UploadAnswer:
        intake_ = Intake(owner=owner, limits=self._limits, store=self._store)
        try:
            parts = await intake_.receive(form)
            received = _accepted(parts)
            kept, stored = await retry_deadlock(lambda: self._record(owner, parts, received, claim))
        except BaseException as error:
            await self._undo(owner, intake_.begun, error)
            raise
        if superfluous := set(intake_.begun) - stored.new:
            with suppress(Failure):  # the promise is made; housekeeping removes what has no row
                await intake.discard(self._store, owner, superfluous)
        return await self._render(kept, _rejected(parts))

    async def _record(
        self, owner: UUID, parts: Sequence[Part], received: Sequence[Received], claim: Claim | None
    ) -> tuple[list[KeptDocument], _Stored]:
        async with self._sessions.begin() as session:
            stored = await self._store_rows(session, owner, received)
            kept = _kept(received, stored)
            if claim is not None:
                await self._idempotency.remember(
                    session, claim, fingerprint=intake.fingerprint(parts), documents=kept, rejected=_rejected(parts)
                )
            again = await self._try_again(session, [document.id for document in kept if document.duplicate])
            if changed := [*sorted(stored.new), *again]:
                await owners.move_if_open(session, owner, changed)
        return kept, stored

    async def _store_rows(self, session: AsyncSession, owner: UUID, received: Sequence[Received]) -> _Stored:
        """New rows in the order of their sha256; the loser of a race gets the winner's document."""
        wanted = {file.sha256: file for file in reversed(received)}  # the first of equal ones counts
        found: dict[str, UUID] = {}
        new: set[UUID] = set()
        for _ in range(_TRIES):
            missing = [wanted[digest] for digest in sorted(wanted.keys() - found.keys())]
            if not missing:
                return _Stored(by_sha256=found, new=frozenset(new))
            inserted = await _insert(session, owner, missing)
            await self._say_uploaded(session, inserted)
            found |= {row.sha256: row.id for row in inserted}
            new |= {row.id for row in inserted}
            found |= await _existing(session, owner, [file.sha256 for file in missing])
        raise RuntimeError("the same bytes are uploaded and deleted again and again")

    async def _say_uploaded(self, session: AsyncSession, rows: Sequence[DocumentRow]) -> None:
        facts = [processing.uploaded(row) for row in rows]
        for fact in facts:
            self._outbox.add(session, fact)
        await timeline.note(session, *facts)

    async def _try_again(self, session: AsyncSession, duplicates: Sequence[UUID]) -> list[UUID]:
        """The same bytes as those of a document that failed, but not by its own fault: it is processed again."""
        failed = await session.scalars(
            select(DocumentRow.id).where(
                DocumentRow.id.in_(duplicates),
                DocumentRow.status == DocumentStatus.FAILED.value,
                DocumentRow.error_retryable.is_(True),
            )
        )
        return await try_again(session, self._outbox, failed.all())

    async def _undo(self, owner: UUID, begun: Sequence[UUID], error: BaseException) -> None:
        """Remove the objects of a call that was not carried out.

        Whoever was cut off during the commit cannot know whether it happened: then the rows are asked, and where they
        cannot be, the objects stay until housekeeping finds that they have none.
        """
        if begun and not (isinstance(error, Exception) and is_transient(error)):
            await to_the_end(self._discard_rowless(owner, begun))

    async def _discard_rowless(self, owner: UUID, begun: Sequence[UUID]) -> None:
        async with self._sessions() as session:
            rows = await session.scalars(select(DocumentRow.id).where(DocumentRow.id.in_(begun)))
            rowless = set(begun) - set(rows)
        await intake.discard(self._store, owner, rowless)

    async def _answer_again(self, owner: UUID, form: Multipart, answered: Answered) -> UploadAnswer:
        parts = await Intake(owner=owner, limits=self._limits, store=None).receive(form)
        if intake.fingerprint(parts) != answered.fingerprint:
            raise idempotency_mismatch()
        return await self._render(answered.answer.documents, answered.answer.rejected)

    async def _render(self, kept: Sequence[KeptDocument], rejected: Sequence[RejectedFile]) -> UploadAnswer:
        async with self._sessions() as session:
            rows = await session.scalars(select(DocumentRow).where(DocumentRow.id.in_([one.id for one in kept])))
            shown = {row.id: show(row) for row in rows}
        return UploadAnswer(
            documents=[
                UploadedDocument(**shown[one.id].model_dump(), duplicate=one.duplicate)
                for one in kept
                if one.id in shown
            ],
            rejected=list(rejected),
        )


async def _insert(session: AsyncSession, owner: UUID, files: Sequence[Received]) -> list[DocumentRow]:
    values = [
        {
            "id": file.document_id,
            "owner_id": owner,
            "filename": file.filename,
            "folded_name": file.filename.casefold(),
            "media_type": file.media_type,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "status": DocumentStatus.UPLOADED.value,
            "version": 1,
        }
        for file in files
    ]
    inserted = insert(DocumentRow).values(values).on_conflict_do_nothing().returning(DocumentRow)
    return list(await session.scalars(inserted))


async def _existing(session: AsyncSession, owner: UUID, digests: Sequence[str]) -> dict[str, UUID]:
    rows = await session.execute(
        select(DocumentRow.sha256, DocumentRow.id).where(
            DocumentRow.owner_id == owner, DocumentRow.sha256.in_(digests), NOT_DELETING
        )
    )
    return {row.sha256: row.id for row in rows}


def _accepted(parts: Sequence[Part]) -> list[Received]:
    received = [part.outcome for part in parts if isinstance(part.outcome, Received)]
    if not parts:
        raise no_files()
    if not received:
        raise NothingAccepted(_rejected(parts))
    return received


def _rejected(parts: Sequence[Part]) -> list[RejectedFile]:
    return [part.outcome for part in parts if isinstance(part.outcome, RejectedFile)]


def _kept(received: Sequence[Received], stored: _Stored) -> list[KeptDocument]:
    """In the order of the parts: a file is no duplicate if its own object is the document's."""
    kept = []
    for file in received:
        document = stored.by_sha256[file.sha256]
        kept.append(KeptDocument(id=document, duplicate=document != file.document_id))
    return kept

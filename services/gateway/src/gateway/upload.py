"""Upload: objects first, then all rows and what is said of them in one transaction after the last byte."""

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from chassis.database import Sessions, is_transient, retry_deadlock
from chassis.failures import Failure
from chassis.finishing import to_the_end
from chassis.objects import ObjectStore
from chassis.transactions import Transactions
from contracts.documents import RejectedFile, UploadAnswer
from messaging.outbox import Outbox
from sqlalchemy import select

from gateway import intake, owners, recording
from gateway.errors import NothingAccepted, idempotency_mismatch, no_files
from gateway.idempotency import Answered, Claim, Idempotency
from gateway.intake import Intake, Limits, Part, Received
from gateway.multipart import Multipart
from gateway.tables import DocumentRow


class Upload:
    """Takes files from an owner and promises that each ends ready or failed."""

    def __init__(
        self,
        *,
        transactions: Transactions,
        sessions: Sessions,
        store: ObjectStore,
        outbox: Outbox,
        idempotency: Idempotency,
        limits: Limits,
    ) -> None:
        self._transactions = transactions
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
        receiving = Intake(owner=owner, limits=self._limits, store=self._store)
        try:
            parts = await receiving.receive(form)
            received = _accepted(parts)
            answer = await retry_deadlock(lambda: self._promise(owner, parts, received, claim))
        except BaseException as error:
            await self._undo(owner, receiving.begun, error)
            raise
        new = {document.id for document in answer.documents if not document.duplicate}
        with suppress(Failure):  # the promise is made; housekeeping removes what has no row
            await intake.discard(self._store, owner, set(receiving.begun) - new)
        return answer

    async def _promise(
        self, owner: UUID, parts: Sequence[Part], received: Sequence[Received], claim: Claim | None
    ) -> UploadAnswer:
        rejected = _rejected(parts)
        async with self._transactions.begin() as session:
            recorded = await recording.record(session, self._outbox, owner, received)
            if claim is not None:
                fingerprint = intake.fingerprint(parts)
                await self._idempotency.remember(
                    session, claim, fingerprint=fingerprint, kept=recorded.kept, rejected=rejected
                )
            documents = await recording.render(session, recorded.kept, recorded.new)
            answer = UploadAnswer(documents=documents, rejected=rejected)
            await owners.move_if_open(session, owner, recorded.changed)
        return answer

    async def _answer_again(self, owner: UUID, form: Multipart, answered: Answered) -> UploadAnswer:
        parts = await Intake(owner=owner, limits=self._limits, store=None).receive(form)
        if intake.fingerprint(parts) != answered.fingerprint:
            raise idempotency_mismatch()
        async with self._sessions() as session:
            return UploadAnswer(documents=await recording.render(session, answered.kept), rejected=answered.rejected)

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


def _accepted(parts: Sequence[Part]) -> list[Received]:
    received = [part.outcome for part in parts if isinstance(part.outcome, Received)]
    if not parts:
        raise no_files()
    if not received:
        raise NothingAccepted(_rejected(parts))
    return received


def _rejected(parts: Sequence[Part]) -> list[RejectedFile]:
    return [part.outcome for part in parts if isinstance(part.outcome, RejectedFile)]

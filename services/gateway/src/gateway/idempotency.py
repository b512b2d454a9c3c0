"""`Idempotency-Key`: the same call gives the same answer, for a day and an owner.

A key is claimed while its call runs, in a lease, so that a gateway that dies does not keep it. What is stored of an
answer is ids, and the names of files that were refused. Documents are rendered again, so that it tells nothing that was
deleted meanwhile; a closed account takes all of it along.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from uuid import UUID, uuid4

from chassis.database import DATABASE_ERRORS, Sessions
from chassis.finishing import to_the_end
from chassis.problems import invalid
from contracts.documents import RejectedFile
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, delete, func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from gateway.errors import IdempotencyRunning
from gateway.recording import Kept
from gateway.tables import IdempotencyRow

LEASE = timedelta(seconds=30)
LONGEST = 255

Key = Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": LONGEST, "pattern": "^[ -~]*$"})]
"""What `checked` takes, as it is described."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    kept: list[Kept]
    rejected: list[RejectedFile]


@dataclass(frozen=True)
class Claim:
    """The key is ours while the call runs."""

    owner: UUID
    key: str
    token: UUID


@dataclass(frozen=True)
class Answered:
    """The key was used before: for what, and what was said."""

    fingerprint: str
    kept: list[Kept]
    rejected: list[RejectedFile]


def checked(key: str | None) -> str | None:
    """The key of a request; 422 for what cannot be one."""
    if key is None:
        return None
    if not (1 <= len(key) <= LONGEST and key.isascii() and key.isprintable()):
        raise invalid("Idempotency-Key", "idempotency.bad_key", f"At most {LONGEST} printable ASCII characters.")
    return key


class Idempotency:
    """Claims keys, and remembers answers for `remembered`."""

    def __init__(self, *, sessions: Sessions, remembered: timedelta) -> None:
        self._sessions = sessions
        self._remembered = remembered

    async def claim(self, owner: UUID, key: str) -> Claim | Answered:
        """Raises `IdempotencyRunning` while another call has the key."""
        claim = Claim(owner=owner, key=key, token=uuid4())
        async with self._sessions.begin() as session:
            if await session.scalar(self._claiming(claim)) is not None:
                return claim
            row = await session.get(IdempotencyRow, (owner, key))
        if row is None or row.answer is None or row.fingerprint is None:
            raise IdempotencyRunning(key)
        answer = _Answer.model_validate(row.answer)
        return Answered(fingerprint=row.fingerprint, kept=answer.kept, rejected=answer.rejected)

    @asynccontextmanager
    async def held(self, claim: Claim) -> AsyncIterator[None]:
        """Keep the claim while the block runs; a call that was not answered gives it back."""
        keeping = asyncio.create_task(self._keep(claim))
        try:
            yield
        except BaseException:
            with suppress(*DATABASE_ERRORS, OSError):  # then the lease runs out by itself
                await to_the_end(self._give_back(claim))
            raise
        finally:
            keeping.cancel()

    async def remember(
        self,
        session: AsyncSession,
        claim: Claim,
        *,
        fingerprint: str,
        kept: list[Kept],
        rejected: list[RejectedFile],
    ) -> None:
        """In the transaction of the call. Raises `IdempotencyRunning` if the lease ran out and another has the key."""
        answer = _Answer(kept=kept, rejected=rejected)
        mine = await session.scalar(
            update(IdempotencyRow)
            .where(*_is(claim))
            .values(fingerprint=fingerprint, answer=answer.model_dump(mode="json"))
            .returning(IdempotencyRow.key)
        )
        if mine is None:
            raise IdempotencyRunning(claim.key)

    def _claiming(self, claim: Claim) -> ReturningInsert[str]:
        values = {"claim": claim.token, "leased_until": func.now() + LEASE}
        over = or_(
            (IdempotencyRow.answer.is_(None)) & (IdempotencyRow.leased_until < func.now()),
            IdempotencyRow.created_at < func.now() - self._remembered,
        )
        return (
            insert(IdempotencyRow)
            .values(owner_id=claim.owner, key=claim.key, **values)
            .on_conflict_do_update(
                index_elements=[IdempotencyRow.owner_id, IdempotencyRow.key],
                set_={**values, "created_at": func.now(), "answer": None, "fingerprint": None},
                where=over,
            )
            .returning(IdempotencyRow.key)
        )

    async def _keep(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            with suppress(*DATABASE_ERRORS, OSError):  # two more looks before the lease runs out
                async with self._sessions.begin() as session:
                    await session.execute(
                        update(IdempotencyRow).where(*_is(claim)).values(leased_until=func.now() + LEASE)
                    )

    async def _give_back(self, claim: Claim) -> None:
        async with self._sessions.begin() as session:
            await session.execute(delete(IdempotencyRow).where(*_is(claim), IdempotencyRow.answer.is_(None)))


async def forget(session: AsyncSession, owner: UUID) -> None:
    """Nothing of an owner's calls is remembered any more."""
    await session.execute(delete(IdempotencyRow).where(IdempotencyRow.owner_id == owner))


def _is(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        IdempotencyRow.owner_id == claim.owner,
        IdempotencyRow.key == claim.key,
        IdempotencyRow.claim == claim.token,
    )

"""What can be found, as it is written and erased."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.transactions import Driver, driver_of
from contracts.chunks_file import Chunk
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from qa.tables import ChatMessage, ChatSession, PassageRow, SearchableDocument

# $1 the document, $2 its version, $3 its owner; of each chunk the rest, as arrays. COPY is no faster: nearly all of the
# time is the full text's.
_COPY = """
    INSERT INTO passages (document_id, version, ordinal, owner_id, page, starts_at, ends_at, text)
    SELECT $1, $2, new.ordinal, $3, new.page, new.starts_at, new.ends_at, new.text
    FROM unnest($4::int[], $5::int[], $6::int[], $7::int[], $8::text[]) AS new(ordinal, page, starts_at, ends_at, text)
    ON CONFLICT (document_id, version, ordinal) DO UPDATE
    SET page = excluded.page, starts_at = excluded.starts_at, ends_at = excluded.ends_at, text = excluded.text
"""

# The same bytes are the same passages, and what is told of a job is true of what its last transaction wrote.
_IS_COPIED = """
    SELECT true FROM jobs
    WHERE subject = $1 AND version = $2 AND kind = $3 AND state = 'done' AND payload ->> 'chunks_sha256' = $4
"""

# Of its own version it deletes what an attempt has left that read another file.
_MAKE_SEARCHABLE = """
    WITH surplus AS (
        DELETE FROM passages WHERE document_id = $1 AND (version < $3 OR (version = $3 AND ordinal >= $6))
    )
    INSERT INTO searchable_documents (document_id, owner_id, version, filename, pages, chunk_count)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (document_id) DO UPDATE
    SET owner_id = excluded.owner_id, version = excluded.version, filename = excluded.filename,
        pages = excluded.pages, chunk_count = excluded.chunk_count, ready_at = excluded.ready_at
"""


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """Whose version of which document."""

    owner: UUID
    document: UUID
    version: int


async def copy_passages(session: AsyncSession, of: DocumentVersion, chunks: Sequence[Chunk]) -> None:
    """Write these chunks over those with the same ordinals. Safe to run twice."""
    if not chunks:
        return
    driver = await driver_of(session)
    await driver.execute(
        _COPY,
        of.document,
        of.version,
        of.owner,
        [chunk.ordinal for chunk in chunks],
        [chunk.page for chunk in chunks],
        [chunk.start for chunk in chunks],
        [chunk.end for chunk in chunks],
        [chunk.text for chunk in chunks],
    )


async def is_copied(driver: Driver, of: DocumentVersion, *, kind: str, chunks_sha256: str) -> bool:
    """Whether a job of this kind has written all passages of that chunks file."""
    return bool(await driver.fetchval(_IS_COPIED, str(of.document), of.version, kind, chunks_sha256))


async def make_searchable(
    session: AsyncSession, of: DocumentVersion, *, filename: str, pages: int | None, chunk_count: int
) -> None:
    """From the commit on this version answers, and what lower versions had is gone."""
    driver = await driver_of(session)
    await driver.execute(_MAKE_SEARCHABLE, of.document, of.owner, of.version, filename, pages, chunk_count)


async def drop_version(session: AsyncSession, document: UUID, version: int) -> None:
    """Erase the passages of one version, which does not answer."""
    row = PassageRow
    await session.execute(delete(row).where(row.document_id == document, row.version == version))


async def owner(session: AsyncSession, document: UUID) -> UUID | None:
    """Whose document it is, if a passage of it is here."""
    found: UUID | None = await session.scalar(
        select(PassageRow.owner_id).where(PassageRow.document_id == document).limit(1)
    )
    return found


async def hide(session: AsyncSession, document: UUID) -> int:
    """Nothing of the document is found any more. Gives the number of rows erased: one, or none."""
    hidden = await session.scalars(
        delete(SearchableDocument)
        .where(SearchableDocument.document_id == document)
        .returning(SearchableDocument.document_id)
    )
    return len(hidden.all())


async def erase_document(session: AsyncSession, document: UUID) -> int:
    """Erase its passages, and the words of every message that has it among its sources. Gives the number of rows."""
    hidden = await hide(session, document)
    passages = await session.scalars(
        delete(PassageRow).where(PassageRow.document_id == document).returning(PassageRow.ordinal)
    )
    messages = await session.scalars(
        update(ChatMessage)
        .where(ChatMessage.source_documents.contains([document]), ~ChatMessage.redacted)
        .values(content="", sources=[], redacted=True)
        .returning(ChatMessage.id)
    )
    return hidden + len(passages.all()) + len(messages.all())


async def count_document(session: AsyncSession, document: UUID) -> int:
    """What is left of it: passages, its place among what can be found, messages that still have their words."""
    counts = [
        select(func.count()).select_from(PassageRow).where(PassageRow.document_id == document),
        select(func.count()).select_from(SearchableDocument).where(SearchableDocument.document_id == document),
        select(func.count())
        .select_from(ChatMessage)
        .where(ChatMessage.source_documents.contains([document]), ~ChatMessage.redacted),
    ]
    row = (await session.execute(select(*(count.scalar_subquery() for count in counts)))).one()
    return sum(row)


async def erase_chats(session: AsyncSession, owner: UUID) -> int:
    """Erase all that somebody has asked and been answered. Gives the number of sessions and messages."""
    messages = await session.scalars(delete(ChatMessage).where(ChatMessage.owner_id == owner).returning(ChatMessage.id))
    sessions = await session.scalars(delete(ChatSession).where(ChatSession.owner_id == owner).returning(ChatSession.id))
    return len(messages.all()) + len(sessions.all())


async def count_chats(session: AsyncSession, owner: UUID) -> int:
    """How many sessions and messages somebody has."""
    counts = [
        select(func.count()).select_from(ChatMessage).where(ChatMessage.owner_id == owner),
        select(func.count()).select_from(ChatSession).where(ChatSession.owner_id == owner),
    ]
    row = (await session.execute(select(*(count.scalar_subquery() for count in counts)))).one()
    return sum(row)


async def drop_abandoned_places(session: AsyncSession, *, older_than: float) -> None:
    """Remove the places of answers that nobody writes any more: their process died. `older_than` in seconds."""
    age = func.make_interval(0, 0, 0, 0, 0, 0, older_than)
    await session.execute(delete(ChatMessage).where(ChatMessage.running, ChatMessage.created_at < func.now() - age))

"""What can be found, as it is written and erased."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.chunks_file import Chunk
from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from qa.tables import ChatMessage, ChatSession, PassageRow, SearchableDocument

_COLUMNS = ("document_id", "version", "ordinal", "owner_id", "page", "starts_at", "ends_at", "text")


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """Whose version of which document."""

    owner: UUID
    document: UUID
    version: int


async def copy_passages(session: AsyncSession, of: DocumentVersion, chunks: Sequence[Chunk]) -> None:
    """Write these chunks in the place of those with the same ordinals. Safe to run twice."""
    if not chunks:
        return
    row = PassageRow
    first, last = chunks[0].ordinal, chunks[-1].ordinal
    await session.execute(
        delete(row).where(row.document_id == of.document, row.version == of.version, row.ordinal.between(first, last))
    )
    # The transaction has begun with the statement above: COPY goes past SQLAlchemy, on the same connection.
    connection = await (await session.connection()).get_raw_connection()
    driver = connection.driver_connection
    assert driver is not None
    records = [
        (of.document, of.version, chunk.ordinal, of.owner, chunk.page, chunk.start, chunk.end, chunk.text)
        for chunk in chunks
    ]
    await driver.copy_records_to_table(row.__tablename__, records=records, columns=_COLUMNS)


async def make_searchable(
    session: AsyncSession, of: DocumentVersion, *, filename: str, pages: int | None, chunk_count: int
) -> None:
    """From the commit on this version answers, and what lower versions had is gone."""
    row = PassageRow
    # Of its own version, what an attempt has left that read another file.
    surplus = or_(row.version < of.version, and_(row.version == of.version, row.ordinal >= chunk_count))
    await session.execute(delete(row).where(row.document_id == of.document, surplus))
    values = {
        "owner_id": of.owner,
        "version": of.version,
        "filename": filename,
        "pages": pages,
        "chunk_count": chunk_count,
        "ready_at": func.now(),
    }
    await session.execute(
        insert(SearchableDocument)
        .values(document_id=of.document, **values)
        .on_conflict_do_update(index_elements=[SearchableDocument.document_id], set_=values)
    )


async def drop_version(session: AsyncSession, document: UUID, version: int) -> None:
    """Erase the passages of one version, which does not answer."""
    row = PassageRow
    await session.execute(delete(row).where(row.document_id == document, row.version == version))


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

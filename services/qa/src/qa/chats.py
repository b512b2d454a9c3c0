"""Chats as they are kept: sessions, questions, answers."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from contracts.questions import Chat, ChatMessage, ChatWithMessages, Feedback, Source
from sqlalchemy import ColumnElement, Select, delete, exists, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from qa import tables
from qa.errors import ChatNotFound, MessageNotFound
from qa.statements import Statements
from qa.tables import ChatSession

TITLE_LENGTH = 80

# By the database's clock: ids are made by a replica's, and those differ. A question and its answer have the same time.
_IN_ORDER = (tables.ChatMessage.created_at, tables.ChatMessage.role.desc(), tables.ChatMessage.id)


async def previous_question(statements: Statements, owner: UUID, chat: UUID) -> str | None:
    """The last question asked in the chat, if any. Raises `ChatNotFound`."""
    rows = await statements.rows(_PREVIOUS, chat, owner)
    if not rows:
        raise ChatNotFound(chat)
    previous: str | None = rows[0]["previous"]
    return previous


async def foreign_document(statements: Statements, owner: UUID, documents: Collection[UUID]) -> UUID | None:
    """One of the documents that does not answer for this owner, if there is one."""
    rows = await statements.rows(_ANSWERING, owner, list(documents))
    found = {row["document_id"] for row in rows}
    return next((item for item in documents if item not in found), None)


async def drop_place(statements: Statements, answer_id: UUID) -> None:
    """Give up the place of an answer that will not come."""
    await statements.rows(_DROP_PLACE, answer_id)


async def list_chats(
    session: AsyncSession, owner: UUID, *, limit: int, after: tuple[datetime, UUID] | None
) -> list[Chat]:
    """Chats, the latest first, after the one that changed then."""
    query = _chats().where(ChatSession.owner_id == owner)
    if after is not None:
        query = query.where(tuple_(ChatSession.updated_at, ChatSession.id) < after)
    query = query.order_by(ChatSession.updated_at.desc(), ChatSession.id.desc()).limit(limit)
    return [Chat(**row._mapping) for row in await session.execute(query)]


async def read_chat(session: AsyncSession, owner: UUID, chat: UUID, *, hidden: Collection[UUID]) -> ChatWithMessages:
    """A chat with its messages; those with a hidden document among their sources without their words."""
    row = (await session.execute(_chats().where(_is_chat(owner, chat)))).one_or_none()
    if row is None:
        raise ChatNotFound(chat)
    message = tables.ChatMessage
    messages = await session.scalars(
        select(message).where(message.session_id == chat, ~message.running).order_by(*_IN_ORDER)
    )
    return ChatWithMessages(**row._mapping, messages=[_as_message(item, hidden) for item in messages])


async def rename_chat(session: AsyncSession, owner: UUID, chat: UUID, title: str) -> Chat:
    """Gives the chat as it is now."""
    renamed = await session.execute(
        update(ChatSession).where(_is_chat(owner, chat)).values(title=title).returning(ChatSession.id)
    )
    if renamed.one_or_none() is None:
        raise ChatNotFound(chat)
    row = (await session.execute(_chats().where(_is_chat(owner, chat)))).one()
    return Chat(**row._mapping)


async def delete_chat(session: AsyncSession, owner: UUID, chat: UUID) -> None:
    """With all its messages; an answer being written for it will find no place."""
    deleted = await session.execute(delete(ChatSession).where(_is_chat(owner, chat)).returning(ChatSession.id))
    if deleted.one_or_none() is None:
        raise ChatNotFound(chat)


async def rate(session: AsyncSession, owner: UUID, chat: UUID, message_id: UUID, feedback: Feedback) -> None:
    """Keep what a reader thought of an answer; the last word counts. Raises `MessageNotFound`."""
    message = tables.ChatMessage
    rated = await session.execute(
        update(message)
        .where(_is_answer(owner, chat, message_id), ~message.running)
        .values(rating=feedback.rating, comment=feedback.comment)
        .returning(message.id)
    )
    if rated.one_or_none() is None:
        raise MessageNotFound(message_id)


async def request_stop(session: AsyncSession, owner: UUID, chat: UUID, message_id: UUID) -> bool:
    """Ask whoever writes the answer to stop; False if nobody does any more. Raises `MessageNotFound`."""
    message = tables.ChatMessage
    row = await session.execute(
        update(message)
        .where(_is_answer(owner, chat, message_id))
        .values(stop_requested=message.running)
        .returning(message.running)
    )
    running = row.scalar_one_or_none()
    if running is None:
        raise MessageNotFound(message_id)
    return bool(running)


async def to_be_stopped(session: AsyncSession, running: Collection[UUID]) -> set[UUID]:
    """Those of the running answers that somebody asked to stop."""
    message = tables.ChatMessage
    return set(await session.scalars(select(message.id).where(message.id.in_(running), message.stop_requested)))


async def is_running(session: AsyncSession, message_id: UUID) -> bool:
    message = tables.ChatMessage
    return bool(await session.scalar(select(exists().where(message.id == message_id, message.running))))


def title_of(question: str) -> str:
    """The beginning of the first question, on one line."""
    line = " ".join(question.split())
    if len(line) <= TITLE_LENGTH:
        return line
    return line[: TITLE_LENGTH - 1].rstrip() + "…"


def _is_chat(owner: UUID, chat: UUID) -> ColumnElement[bool]:
    return (ChatSession.id == chat) & (ChatSession.owner_id == owner)


def _is_answer(owner: UUID, chat: UUID, message_id: UUID) -> ColumnElement[bool]:
    message = tables.ChatMessage
    return (
        (message.id == message_id)
        & (message.session_id == chat)
        & (message.owner_id == owner)
        & (message.role == "assistant")
    )


def _chats() -> Select[tuple[UUID, str, datetime, datetime, int]]:
    message = tables.ChatMessage
    count = (
        select(func.count())
        .where(message.session_id == ChatSession.id, ~message.running)
        .correlate(ChatSession)
        .scalar_subquery()
    )
    return select(
        ChatSession.id,
        ChatSession.title,
        ChatSession.created_at,
        ChatSession.updated_at,
        count.label("message_count"),
    )


def _as_message(row: tables.ChatMessage, hidden: Collection[UUID]) -> ChatMessage:
    redacted = row.redacted or not set(hidden).isdisjoint(row.source_documents)
    return ChatMessage(
        id=row.id,
        role="assistant" if row.role == "assistant" else "user",
        content="" if redacted else row.content,
        sources=[] if redacted else [Source.model_validate(source) for source in row.sources],
        answered=row.answered,
        feedback=_as_feedback(row),
        redacted=redacted,
        stopped=row.stopped,
        created_at=row.created_at,
    )


def _as_feedback(row: tables.ChatMessage) -> Feedback | None:
    if row.rating is None:
        return None
    return Feedback(rating="up" if row.rating == "up" else "down", comment=row.comment)


_PREVIOUS = """
    SELECT (
        SELECT content FROM chat_messages WHERE session_id = chat_sessions.id AND role = 'user'
        ORDER BY created_at DESC, id DESC LIMIT 1
    ) AS previous
    FROM chat_sessions WHERE id = $1 AND owner_id = $2
"""

_ANSWERING = "SELECT document_id FROM searchable_documents WHERE owner_id = $1 AND document_id = ANY($2::uuid[])"

_DROP_PLACE = "DELETE FROM chat_messages WHERE id = $1 AND running"

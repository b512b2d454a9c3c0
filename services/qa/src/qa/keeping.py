"""Questions and answers are kept, each in one statement that locks first what decides whether it may be kept.

The fence of the account, and for an answer those of its sources, are locked `FOR SHARE` in the order of their ids, then
the chat, then its messages: nobody waits for whoever waits for them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.database import Sessions
from contracts.questions import Source
from messaging.tables import FenceRow
from models.chat import Usage
from pydantic import TypeAdapter
from sqlalchemy import ARRAY, BigInteger, Boolean, Integer, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, insert

from qa.chats import drop_place, title_of
from qa.errors import AccountClosed, ChatNotFound
from qa.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class NewQuestion:
    """A question and the place of its answer; `is_new_chat` if they open the chat."""

    owner: UUID
    chat: UUID
    is_new_chat: bool
    question_id: UUID
    answer_id: UUID
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedAnswer:
    """An answer as it is to be kept."""

    owner: UUID
    chat: UUID
    id: UUID
    text: str
    answered: bool
    stopped: bool
    sources: Sequence[Source]
    model: str
    usage: Usage | None

    @property
    def documents(self) -> list[UUID]:
        return sorted({source.document_id for source in self.sources})


class Keep:
    """Keeps what was asked and answered."""

    def __init__(self, statements: Statements, sessions: Sessions) -> None:
        self._statements = statements
        self._sessions = sessions

    async def question(self, new: NewQuestion) -> None:
        """Keep a question and the place of its answer. Raises `ChatNotFound`, `AccountClosed`."""
        values = {
            "owner": new.owner,
            "account": str(new.owner),
            "chat": new.chat,
            "is_new": new.is_new_chat,
            "title": title_of(new.question),
            "question": new.question_id,
            "content": new.question,
            "answer": new.answer_id,
        }
        kept = await self._statements.row(_KEEP_QUESTION, values)
        if kept.fences == 0:
            await self._make_fences([str(new.owner)])
            kept = await self._statements.row(_KEEP_QUESTION, values)
        if kept.closed:
            raise AccountClosed
        if not kept.chat_is_there:
            raise ChatNotFound(new.chat)

    async def answer(self, answer: FinishedAnswer) -> bool:
        """Keep a finished answer; False if a source was deleted: then its place is kept, without any words.

        Raises `ChatNotFound` if the chat was deleted meanwhile, `AccountClosed`.
        """
        subjects = sorted({str(answer.owner), *(str(document) for document in answer.documents)})
        values = {
            "owner": answer.owner,
            "account": str(answer.owner),
            "subjects": subjects,
            "chat": answer.chat,
            "answer": answer.id,
            "content": answer.text,
            "sources": _SOURCES.dump_python(list(answer.sources), mode="json"),
            "documents": answer.documents,
            "answered": answer.answered,
            "stopped": answer.stopped,
            "model": answer.model,
            "input_tokens": answer.usage.input_tokens if answer.usage else None,
            "output_tokens": answer.usage.output_tokens if answer.usage else None,
        }
        kept = await self._statements.row(_KEEP_ANSWER, values)
        if kept.fences < len(subjects):
            await self._make_fences(subjects)
            kept = await self._statements.row(_KEEP_ANSWER, values)
        if kept.closed:
            raise AccountClosed
        if not kept.place_is_there:
            raise ChatNotFound(answer.chat)
        return not kept.sources_deleted

    async def nothing(self, answer_id: UUID) -> None:
        """Give up the place of an answer that will not come."""
        async with self._sessions.begin() as session:
            await drop_place(session, answer_id)

    async def _make_fences(self, subjects: Iterable[str]) -> None:
        """Somebody who asks for the first time: what is to be locked must be there."""
        missing = [{"subject": subject} for subject in sorted(subjects)]
        await self._statements.rows(
            insert(FenceRow).values(missing).on_conflict_do_nothing().returning(FenceRow.subject), {}
        )


_SOURCES = TypeAdapter(list[Source])

# Safe to run twice: the ids are the caller's.
_KEEP_QUESTION = (
    text("""
    WITH account AS MATERIALIZED (
        SELECT deleted_at FROM fences WHERE subject = :account FOR SHARE
    ), may AS MATERIALIZED (
        SELECT count(*) AS fences, coalesce(bool_or(deleted_at IS NOT NULL), false) AS closed FROM account
    ), opened AS (
        INSERT INTO chat_sessions (id, owner_id, title)
        SELECT :chat, :owner, :title FROM may WHERE :is_new AND fences = 1 AND NOT closed
        ON CONFLICT (id) DO UPDATE SET updated_at = now()
        RETURNING id
    ), continued AS (
        UPDATE chat_sessions SET updated_at = now() FROM may
        WHERE NOT :is_new AND chat_sessions.id = :chat AND owner_id = :owner AND fences = 1 AND NOT closed
        RETURNING chat_sessions.id
    ), chat AS (
        SELECT id FROM opened UNION ALL SELECT id FROM continued
    ), messages AS (
        INSERT INTO chat_messages (id, session_id, owner_id, role, content, running)
        SELECT turn.id, chat.id, :owner, turn.role, turn.content, turn.running
        FROM chat, (VALUES (:question, 'user', :content, false), (:answer, 'assistant', '', true))
            AS turn (id, role, content, running)
        ON CONFLICT DO NOTHING
    )
    SELECT fences, closed, EXISTS (SELECT FROM chat) AS chat_is_there FROM may
    """)
    .bindparams(
        bindparam("owner", type_=Uuid()),
        bindparam("account", type_=Text()),
        bindparam("chat", type_=Uuid()),
        bindparam("is_new", type_=Boolean()),
        bindparam("title", type_=Text()),
        bindparam("question", type_=Uuid()),
        bindparam("content", type_=Text()),
        bindparam("answer", type_=Uuid()),
    )
    .columns(fences=BigInteger(), closed=Boolean(), chat_is_there=Boolean())
)

_KEEP_ANSWER = (
    text("""
    WITH heard AS MATERIALIZED (
        SELECT subject, deleted_at FROM fences WHERE subject = ANY(:subjects) ORDER BY subject FOR SHARE
    ), may AS MATERIALIZED (
        SELECT count(*) AS fences,
            coalesce(bool_or(deleted_at IS NOT NULL) FILTER (WHERE subject = :account), false) AS closed,
            coalesce(bool_or(deleted_at IS NOT NULL) FILTER (WHERE subject <> :account), false) AS sources_deleted
        FROM heard
    ), chat AS (
        UPDATE chat_sessions SET updated_at = now() FROM may
        WHERE chat_sessions.id = :chat AND owner_id = :owner AND fences = cardinality(:subjects) AND NOT closed
        RETURNING chat_sessions.id
    ), place AS (
        UPDATE chat_messages SET
            running = false,
            content = CASE WHEN sources_deleted THEN '' ELSE :content END,
            sources = CASE WHEN sources_deleted THEN '[]' ELSE :sources END,
            source_documents = :documents,
            answered = :answered,
            stopped = :stopped,
            redacted = sources_deleted,
            model = :model,
            input_tokens = :input_tokens,
            output_tokens = :output_tokens
        FROM may, chat
        WHERE chat_messages.id = :answer AND session_id = chat.id
        RETURNING chat_messages.id
    )
    SELECT fences, closed, sources_deleted, EXISTS (SELECT FROM place) AS place_is_there FROM may
    """)
    .bindparams(
        bindparam("owner", type_=Uuid()),
        bindparam("account", type_=Text()),
        bindparam("subjects", type_=ARRAY(Text())),
        bindparam("chat", type_=Uuid()),
        bindparam("answer", type_=Uuid()),
        bindparam("content", type_=Text()),
        bindparam("sources", type_=JSONB()),
        bindparam("documents", type_=ARRAY(Uuid())),
        bindparam("answered", type_=Boolean()),
        bindparam("stopped", type_=Boolean()),
        bindparam("model", type_=Text()),
        bindparam("input_tokens", type_=Integer()),
        bindparam("output_tokens", type_=Integer()),
    )
    .columns(fences=BigInteger(), closed=Boolean(), sources_deleted=Boolean(), place_is_there=Boolean())
)

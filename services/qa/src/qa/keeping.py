"""Questions and answers are kept, each in one statement that locks first what decides whether it may be kept.

The fence of the account, and for an answer those of its sources, are locked `FOR SHARE` in the order of their ids, then
the chat, then its messages: nobody waits for whoever waits for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.questions import Source
from models.chat import Usage
from pydantic import TypeAdapter

from qa.chats import drop_place, title_of
from qa.errors import AccountClosed, ChatNotFound
from qa.statements import Row, Statements


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

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def question(self, new: NewQuestion) -> None:
        """Keep a question and the place of its answer. Raises `ChatNotFound`, `AccountClosed`."""
        kept = await self._kept(
            [str(new.owner)],
            _KEEP_QUESTION,
            str(new.owner),
            new.owner,
            new.chat,
            new.is_new_chat,
            title_of(new.question),
            new.question_id,
            new.question,
            new.answer_id,
        )
        if kept["closed"]:
            raise AccountClosed
        if not kept["chat_is_there"]:
            raise ChatNotFound(new.chat)

    async def answer(self, answer: FinishedAnswer) -> bool:
        """Keep a finished answer; False if a source was deleted: then its place is kept, without any words.

        Raises `ChatNotFound` if the chat was deleted meanwhile, `AccountClosed`.
        """
        subjects = sorted({str(answer.owner), *(str(document) for document in answer.documents)})
        kept = await self._kept(
            subjects,
            _KEEP_ANSWER,
            subjects,
            str(answer.owner),
            answer.owner,
            answer.chat,
            answer.id,
            answer.text,
            _SOURCES.dump_json(list(answer.sources)).decode(),
            answer.documents,
            answer.answered,
            answer.stopped,
            answer.model,
            answer.usage and answer.usage.input_tokens,
            answer.usage and answer.usage.output_tokens,
        )
        if kept["closed"]:
            raise AccountClosed
        if not kept["place_is_there"]:
            raise ChatNotFound(answer.chat)
        return not kept["sources_deleted"]

    async def nothing(self, answer_id: UUID) -> None:
        """Give up the place of an answer that will not come."""
        await drop_place(self._statements, answer_id)

    async def _kept(self, subjects: list[str], statement: str, *values: object) -> Row:
        """Of somebody who asks for the first time, what is to be locked is made first."""
        kept = await self._statements.row(statement, *values)
        if kept["fences"] < len(subjects):
            await self._statements.rows(_MAKE_FENCES, sorted(subjects))
            kept = await self._statements.row(statement, *values)
        return kept


_SOURCES = TypeAdapter(list[Source])

_MAKE_FENCES = "INSERT INTO fences (subject) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"

# Safe to run twice: the ids are the caller's.
# $1 the account, $2 its owner, $3 the chat, $4 whether it is new, $5 its title, $6 and $7 the question, $8 its answer.
_KEEP_QUESTION = """
    WITH account AS MATERIALIZED (
        SELECT deleted_at FROM fences WHERE subject = $1 FOR SHARE
    ), may AS MATERIALIZED (
        SELECT count(*) AS fences, coalesce(bool_or(deleted_at IS NOT NULL), false) AS closed FROM account
    ), opened AS (
        INSERT INTO chat_sessions (id, owner_id, title)
        SELECT $3, $2, $5 FROM may WHERE $4 AND fences = 1 AND NOT closed
        ON CONFLICT (id) DO UPDATE SET updated_at = now()
        RETURNING id
    ), continued AS (
        UPDATE chat_sessions SET updated_at = now() FROM may
        WHERE NOT $4 AND chat_sessions.id = $3 AND owner_id = $2 AND fences = 1 AND NOT closed
        RETURNING chat_sessions.id
    ), chat AS (
        SELECT id FROM opened UNION ALL SELECT id FROM continued
    ), messages AS (
        INSERT INTO chat_messages (id, session_id, owner_id, role, content, running)
        SELECT turn.id, chat.id, $2, turn.role, turn.content, turn.running
        FROM chat, (VALUES ($6::uuid, 'user', $7::text, false), ($8, 'assistant', '', true))
            AS turn (id, role, content, running)
        ON CONFLICT DO NOTHING
    )
    SELECT fences, closed, EXISTS (SELECT FROM chat) AS chat_is_there FROM may
"""

# $1 all that may have been deleted, $2 which of it is the account, $3 its owner, $4 the chat, $5 the answer, and then
# what is kept of the answer.
_KEEP_ANSWER = """
    WITH heard AS MATERIALIZED (
        SELECT subject, deleted_at FROM fences WHERE subject = ANY($1::text[]) ORDER BY subject FOR SHARE
    ), may AS MATERIALIZED (
        SELECT count(*) AS fences,
            coalesce(bool_or(deleted_at IS NOT NULL) FILTER (WHERE subject = $2), false) AS closed,
            coalesce(bool_or(deleted_at IS NOT NULL) FILTER (WHERE subject <> $2), false) AS sources_deleted
        FROM heard
    ), chat AS (
        UPDATE chat_sessions SET updated_at = now() FROM may
        WHERE chat_sessions.id = $4 AND owner_id = $3 AND fences = cardinality($1) AND NOT closed
        RETURNING chat_sessions.id
    ), place AS (
        UPDATE chat_messages SET
            running = false,
            content = CASE WHEN sources_deleted THEN '' ELSE $6 END,
            sources = CASE WHEN sources_deleted THEN '[]' ELSE $7::jsonb END,
            source_documents = $8,
            answered = $9,
            stopped = $10,
            redacted = sources_deleted,
            model = $11,
            input_tokens = $12,
            output_tokens = $13
        FROM may, chat
        WHERE chat_messages.id = $5 AND session_id = chat.id
        RETURNING chat_messages.id
    )
    SELECT fences, closed, sources_deleted, EXISTS (SELECT FROM place) AS place_is_there FROM may
"""

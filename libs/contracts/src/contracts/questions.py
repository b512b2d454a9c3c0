"""Questions, answers and chats over HTTP."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from contracts.fields import USUAL_PASSAGES, Question, Request, Response, TopK, Utc, visible

DocumentIds = Annotated[list[UUID], Field(min_length=1, max_length=100)]


class AskRequest(Request):
    """`POST /api/ask`."""

    question: Question
    session_id: UUID | None = None
    document_ids: DocumentIds | None = None
    top_k: TopK = USUAL_PASSAGES


class SearchRequest(Request):
    """`POST /api/search`."""

    query: Question
    document_ids: DocumentIds | None = None
    top_k: TopK = USUAL_PASSAGES


class SourceLinks(Response):
    """Where a source's document is, below the gateway's address."""

    document: str
    raw: str


class Source(Response):
    """A passage that was found, best first. `page` counts from 1 and is null for text files."""

    rank: int
    document_id: UUID
    filename: str
    version: int
    page: int | None
    chunk_id: str
    start: int
    end: int
    text: str
    score: float
    cited: bool
    links: SourceLinks


class SearchAnswer(Response):
    """`POST /api/search`."""

    items: list[Source]


class Usage(Response):
    """What the chat model counted."""

    input_tokens: int
    output_tokens: int


class Answer(Response):
    """An answer; it refers to its sources as [1], [2], … by rank. `timings` are milliseconds by step."""

    answer: str
    answered: bool
    session_id: UUID
    message_id: UUID
    sources: list[Source]
    model: str
    usage: Usage | None
    timings: dict[str, float]


class AskSession(Response):
    """Event `session`: the first of a streamed answer."""

    session_id: UUID
    message_id: UUID


class AskSources(Response):
    """Event `sources`: what the answer may cite."""

    items: list[Source]


class AskToken(Response):
    """Event `token`: a piece of the answer."""

    text: str


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _title(text: str) -> str:
    trimmed = visible(text)
    if not trimmed:
        raise ValueError("must not be blank")
    return _without_nul(trimmed)


class RenameChatRequest(Request):
    """`PATCH /api/chats/{id}`."""

    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_title)]


class FeedbackRequest(Request):
    """`POST /api/chats/{id}/messages/{message_id}/feedback`."""

    rating: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=2000), AfterValidator(_without_nul)] | None = None


class Feedback(Response):
    """What its reader thought of an answer."""

    rating: Literal["up", "down"]
    comment: str | None


class Chat(Response):
    """A conversation."""

    id: UUID
    title: str
    created_at: Utc
    updated_at: Utc
    message_count: int


class ChatPage(Response):
    """`GET /api/chats`, the latest first."""

    items: list[Chat]
    next_cursor: str | None


class ChatMessage(Response):
    """One side's turn; `redacted` once a document among its sources was deleted: it keeps its place, not its words."""

    id: UUID
    role: Literal["user", "assistant"]
    content: str
    sources: list[Source]
    answered: bool | None
    feedback: Feedback | None
    redacted: bool
    stopped: bool
    created_at: Utc


class ChatWithMessages(Chat):
    """`GET /api/chats/{id}`, oldest message first."""

    messages: list[ChatMessage]

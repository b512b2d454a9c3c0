"""What the gateway forwards to qa: questions and chats."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from chassis.database import Sessions
from chassis.identity import CallerDep
from chassis.problems import invalid
from chassis.streaming import EVENT_STREAM, Streamed
from contracts.internal import EXCLUDED_HEADER, ForwardedAsk, ForwardedSearch, decode_excluded
from contracts.questions import (
    Answer,
    Chat,
    ChatPage,
    ChatWithMessages,
    Feedback,
    FeedbackRequest,
    RenameChatRequest,
    SearchAnswer,
)
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel

from qa import chats, cursors
from qa.asking import Ask, Asked, Search
from qa.passages import Scope
from qa.sources import as_sources
from qa.stopping import Stop
from qa.streaming import as_events


@dataclass(frozen=True, slots=True)
class Questions:
    """What the routes call."""

    sessions: Sessions
    ask: Ask
    search: Search
    stop: Stop


# Both are coroutines for what FastAPI does with the other kind: it asks a thread.
async def _questions(request: Request) -> Questions:
    questions: Questions = request.app.state.questions
    return questions


async def _excluded(value: Annotated[str, Header(alias=EXCLUDED_HEADER, max_length=64_000)] = "") -> frozenset[UUID]:
    try:
        return decode_excluded(value)
    except ValueError:
        raise invalid(EXCLUDED_HEADER, "request.invalid", "This is not a list of documents.") from None


QuestionsDep = Annotated[Questions, Depends(_questions)]
Excluded = Annotated[frozenset[UUID], Depends(_excluded)]

router = APIRouter(prefix="/api")


@router.post("/ask", response_model=Answer)
async def ask(
    body: ForwardedAsk, caller: CallerDep, questions: QuestionsDep, excluded: Excluded, request: Request
) -> Response:
    answer = await questions.ask(
        Asked(
            question=body.question,
            scope=_scope(caller.user_id, body.document_ids, excluded),
            top_k=body.top_k,
            chat=body.session_id,
        )
    )
    if not _wants_events(request):
        return _json(await answer.result())
    return Streamed(
        as_events(answer, request.app.state.answers.problem_of, request.state.request_id),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


@router.post("/search", response_model=SearchAnswer)
async def search(body: ForwardedSearch, caller: CallerDep, questions: QuestionsDep, excluded: Excluded) -> Response:
    scope = _scope(caller.user_id, body.document_ids, excluded)
    found = await questions.search(Asked(question=body.query, scope=scope, top_k=body.top_k))
    return _json(SearchAnswer(items=as_sources(found)))


@router.get("/chats")
async def list_chats(
    caller: CallerDep,
    questions: QuestionsDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> ChatPage:
    after = cursors.read(cursor) if cursor else None
    async with questions.sessions() as session:
        found = await chats.list_chats(session, caller.user_id, limit=limit + 1, after=after)
    items = found[:limit]
    more = len(found) > limit
    return ChatPage(items=items, next_cursor=cursors.write((items[-1].updated_at, items[-1].id)) if more else None)


@router.get("/chats/{chat_id}", response_model=ChatWithMessages)
async def show_chat(chat_id: UUID, caller: CallerDep, questions: QuestionsDep, excluded: Excluded) -> Response:
    async with questions.sessions() as session:
        return _json(await chats.read_chat(session, caller.user_id, chat_id, hidden=excluded))


@router.patch("/chats/{chat_id}")
async def rename_chat(chat_id: UUID, body: RenameChatRequest, caller: CallerDep, questions: QuestionsDep) -> Chat:
    async with questions.sessions.begin() as session:
        return await chats.rename_chat(session, caller.user_id, chat_id, body.title)


@router.delete("/chats/{chat_id}", status_code=204)
async def delete_chat(chat_id: UUID, caller: CallerDep, questions: QuestionsDep) -> None:
    async with questions.sessions.begin() as session:
        await chats.delete_chat(session, caller.user_id, chat_id)


@router.post("/chats/{chat_id}/messages/{message_id}/stop", status_code=204)
async def stop_answer(chat_id: UUID, message_id: UUID, caller: CallerDep, questions: QuestionsDep) -> None:
    await questions.stop(caller.user_id, chat_id, message_id)


@router.post("/chats/{chat_id}/messages/{message_id}/feedback", status_code=204)
async def rate_answer(
    chat_id: UUID, message_id: UUID, body: FeedbackRequest, caller: CallerDep, questions: QuestionsDep
) -> None:
    feedback = Feedback(rating=body.rating, comment=body.comment)
    async with questions.sessions.begin() as session:
        await chats.rate(session, caller.user_id, chat_id, message_id, feedback)


def _scope(owner: UUID, documents: Collection[UUID] | None, excluded: frozenset[UUID]) -> Scope:
    return Scope(owner=owner, documents=None if documents is None else frozenset(documents), excluded=excluded)


def _wants_events(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "").lower()


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")

"""Questions, answers and chats over HTTP: qa answers; what is being deleted is named with every request."""

from typing import Annotated
from uuid import UUID

from contracts.questions import (
    Answer,
    AskRequest,
    Chat,
    ChatPage,
    ChatWithMessages,
    FeedbackRequest,
    RenameChatRequest,
    SearchAnswer,
    SearchRequest,
)
from fastapi import APIRouter, Query, Request, Response

from gateway.callers import SECURITY, VerifiedDep
from gateway.describing import forwarded, json_body, problems
from gateway.forwarding import body_of, onward
from gateway.parts import PartsDep

router = APIRouter(prefix="/api", tags=["Questions"], dependencies=SECURITY, responses=problems(401, 413, 422, 503))

STREAMED = (
    "With `Accept: text/event-stream`: events `session` (an AskSession), `sources` (AskSources), `token` (AskToken) …, "
    "`done` (the whole Answer) or `error` (a Problem)."
)


@router.post(
    "/ask",
    openapi_extra=json_body(AskRequest),
    summary="Ask a question",
    **forwarded(Answer, 404, 409, 429, 502, 504, stream=STREAMED),
)
async def ask(request: Request, caller: VerifiedDep, parts: PartsDep) -> Response:
    """Answered from the caller's documents, with its sources; as a stream if the client accepts one."""
    prepared = await parts.prepare_question.ask(caller.user_id, await body_of(request))
    return await parts.qa(onward(request, caller=caller, body=prepared.body, headers=prepared.headers))


@router.post(
    "/search",
    openapi_extra=json_body(SearchRequest),
    summary="Search passages",
    **forwarded(SearchAnswer, 404, 409, 429, 502, 504),
)
async def search(request: Request, caller: VerifiedDep, parts: PartsDep) -> Response:
    """Retrieval alone: no model answers."""
    prepared = await parts.prepare_question.search(caller.user_id, await body_of(request))
    return await parts.qa(onward(request, caller=caller, body=prepared.body, headers=prepared.headers))


@router.get("/chats", summary="List chats", **forwarded(ChatPage))
async def list_chats(
    request: Request,
    caller: VerifiedDep,
    parts: PartsDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
) -> Response:
    """The latest first."""
    del limit, cursor  # qa reads them
    headers = await parts.prepare_question.hidden(caller.user_id)
    return await parts.qa(onward(request, caller=caller, headers=headers))


@router.get("/chats/{chat_id}", operation_id="show_chat", summary="Show a chat", **forwarded(ChatWithMessages, 404))
@router.patch(
    "/chats/{chat_id}",
    operation_id="rename_chat",
    openapi_extra=json_body(RenameChatRequest),
    summary="Rename a chat",
    **forwarded(Chat, 404),
)
@router.delete(
    "/chats/{chat_id}", operation_id="delete_chat", summary="Delete a chat", **forwarded(None, 404, status=204)
)
async def one_chat(request: Request, chat_id: UUID, caller: VerifiedDep, parts: PartsDep) -> Response:
    """Answered by qa."""
    del chat_id  # qa reads it
    headers = await parts.prepare_question.hidden(caller.user_id)
    return await parts.qa(onward(request, caller=caller, body=await body_of(request), headers=headers))


@router.post(
    "/chats/{chat_id}/messages/{message_id}/stop",
    operation_id="stop_answer",
    summary="Stop an answer",
    **forwarded(None, 404, status=204),
)
@router.post(
    "/chats/{chat_id}/messages/{message_id}/feedback",
    operation_id="rate_answer",
    openapi_extra=json_body(FeedbackRequest),
    summary="Rate an answer",
    **forwarded(None, 404, status=204),
)
async def one_message(
    request: Request, chat_id: UUID, message_id: UUID, caller: VerifiedDep, parts: PartsDep
) -> Response:
    """Answered by qa."""
    del chat_id, message_id  # qa reads them
    headers = await parts.prepare_question.hidden(caller.user_id)
    return await parts.qa(onward(request, caller=caller, body=await body_of(request), headers=headers))

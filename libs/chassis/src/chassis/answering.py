"""Every error leaves as a problem, and a refused body is read to its end."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

from asyncpg import PostgresError
from contracts.problems import CONTENT_TYPE, FieldError
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.database import is_transient, is_unstorable
from chassis.methods import allowed
from chassis.problems import ErrorEntry, ProblemError, describe, invalid, invalid_fields, unavailable
from chassis.validation import field_errors

DISCARD_SECONDS = 10.0
"""How long a refused body is read and thrown away: clients that are still sending would see a reset, not the answer."""

BODY_SECONDS = 30.0
"""How long a bounded body may take, all of it: a mebibyte from the slowest of lines."""

IMPATIENCE_SECONDS = 1.0
"""How long a body that was never asked for is awaited: whoever waits for leave to send it may have lost patience."""

CLIENT_CLOSED = 499

log = logging.getLogger(__name__)


class Answers:
    """Turns whatever was raised into the answer to send. `entries` is the service's one table error -> answer."""

    def __init__(self, entries: Mapping[type[Exception], ErrorEntry]) -> None:
        self.entries = dict(entries)

    def problem_of(self, error: Exception) -> ProblemError:
        """The answer to `error`; 500 without any detail if nothing knows it."""
        if (known := describe(error, self.entries)) is not None:
            return known
        if isinstance(error, RequestValidationError):
            return invalid_fields(field_errors(error.errors()))
        if isinstance(error, HTTPException):
            return from_http(error)
        if is_transient(error):
            return unavailable()
        if is_unstorable(error):  # some text or number that a model let through
            return invalid("request", "unstorable", "A text or number in the request cannot be stored.")
        return ProblemError(
            500, "service.internal_error", "Internal error", "Something went wrong on our side. It has been logged."
        )

    async def respond(self, request: Request, error: Exception) -> Response:
        """For `FastAPI(exception_handlers=…)`."""
        problem = self.problem_of(error)
        if problem.status == HTTPStatus.METHOD_NOT_ALLOWED and (methods := allowed(request.app, request.scope)):
            problem.headers["Allow"] = ", ".join(methods)
        if problem.status >= 500 or isinstance(error, DBAPIError | PostgresError):
            level = logging.ERROR if problem.status == 500 else logging.WARNING
            log.log(level, "request failed", exc_info=error, extra={"code": problem.code})
        return response_of(problem, _request_id(request.scope))


def from_http(error: HTTPException) -> ProblemError:
    """What the framework itself refuses."""
    headers = dict(error.headers or {})
    match error.status_code:
        case 400:  # FastAPI's word for a body it could not parse: not UTF-8, nested too deep, a number too long
            body = FieldError(field="body", code="unreadable", detail="This cannot be read.")
            return invalid_fields([body])
        case 404:
            return ProblemError(404, "route.not_found", "Not found", "There is nothing at this address.", headers)
        case 405:
            detail = "This address does not answer to that method."
            return ProblemError(405, "route.method_not_allowed", "Method not allowed", detail, headers)
        case 408:
            return ProblemError(408, "request.too_slow", "Too slow", "The body of the request came too slowly.")
        case 413:
            return too_large()
        case status:
            title = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Refused"
            return ProblemError(status, "request.refused", title, "The request was refused.", headers)


def too_large() -> ProblemError:
    """413 for a body beyond what any route of this service reads."""
    return ProblemError(413, "request.too_large", "Too large", "The body of the request is too large.")


def response_of(problem: ProblemError, request_id: str) -> Response:
    """The problem as an HTTP answer."""
    return Response(
        problem.problem(request_id).model_dump_json(exclude_none=True),
        status_code=problem.status,
        headers=problem.headers,
        media_type=CONTENT_TYPE,
    )


def _request_id(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


class Answering:
    """Pure ASGI: bounds bodies in size and time, answers what was raised, and reads the rest of a body it refused."""

    def __init__(
        self, app: ASGIApp, *, answers: Answers, max_body_bytes: int, unbounded: frozenset[tuple[str, str]]
    ) -> None:
        self._app = app
        self._answers = answers
        self._max_body_bytes = max_body_bytes
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bounded = (scope["method"], scope["path"]) not in self._unbounded
        body = _Body(scope, receive, limit=self._max_body_bytes if bounded else None)
        answer = _Answer(send, body)
        try:
            body.refuse_announced()
            await self._app(scope, body.receive, answer.send)
        except ClientDisconnect:
            return  # there is nobody left to answer
        except asyncio.CancelledError:
            # The process is being stopped, and has waited for this one for as long as it may.
            if answer.started:
                raise
            response = response_of(unavailable("The service is being stopped."), _request_id(scope))
            response.headers["Connection"] = "close"
            await response(scope, body.receive, send)
        except Exception as error:
            if answer.started:
                log.error("answer broken off", exc_info=error)
                return  # the server closes the connection: the client must see that something is missing
            response = await self._answers.respond(Request(scope), error)
            await response(scope, body.receive, answer.send)


class _Body:
    """The body of a request: how much of it came, and whether there is more."""

    def __init__(self, scope: Scope, receive: Receive, *, limit: int | None) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self._announced = int(length) if length.isdigit() and len(length) < 20 else 0
        self._state = scope.setdefault("state", {})
        self._receive = receive
        self._limit = limit
        self._read = 0
        self._until = asyncio.get_running_loop().time() + BODY_SECONDS
        self._waits_for_leave = headers.get(b"expect", b"").lower() == b"100-continue"
        self.complete = not self._announced and b"transfer-encoding" not in headers

    def refuse_announced(self) -> None:
        if self._limit is not None and self._announced > self._limit:
            raise too_large()

    async def receive(self) -> Message:
        self._waits_for_leave = False  # the server gives it as soon as anybody reads
        message = await (self._receive() if self.complete or self._limit is None else self._in_time())
        if message["type"] == "http.disconnect" and not self.complete:
            self._state["client_gone"] = True
        self._note(message)
        if self._limit is not None and self._read > self._limit:
            raise HTTPException(413)  # the one kind of error that FastAPI lets through while it reads a body
        return message

    async def _in_time(self) -> Message:
        try:
            async with asyncio.timeout_at(self._until):
                return await self._receive()
        except TimeoutError:
            raise HTTPException(408) from None

    async def discard(self) -> None:
        """Read on until the end, for ten seconds at most; for one if it has never been asked for and does not come."""
        with suppress(TimeoutError):
            if self._waits_for_leave and not self.complete:
                async with asyncio.timeout(IMPATIENCE_SECONDS):
                    self._note(await self._receive())
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self.complete:
                    self._note(await self._receive())

    def _note(self, message: Message) -> None:
        self._read += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.complete = True


class _Answer:
    """The answer on its way: the end of a refusal is held back until the body has been read."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send = send
        self._body = body
        self._refusal = False
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._refusal = message["status"] >= 400
        elif self._refusal and not message.get("more_body", False) and not self._body.complete:
            await self._send({**message, "more_body": True})
            await self._body.discard()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

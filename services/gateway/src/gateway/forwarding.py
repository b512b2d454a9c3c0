"""Passing requests on to the service that owns the answer, and what it says back, as it comes."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from aiohttp import ClientResponse
from chassis.http import NO_ANSWER, HttpClient
from chassis.identity import Caller
from chassis.observing import REQUEST_ID
from chassis.problems import ProblemError, unavailable
from chassis.streaming import EVENT_STREAM, Streamed, event
from chassis.telemetry import traceparent
from fastapi import Request, Response

MAX_BODY_BYTES = 64 * 1024
SMALL_BYTES = 256 * 1024
"""Answers up to here are read whole: a service that dies in the middle is a clear 503, and no broken answer."""

# What of a request and of an answer means something beyond one hop. `docqa-…` headers are ours alone to send.
_PASSED_ON = ("accept", "content-type", "user-agent")
_PASSED_BACK = ("content-type", "cache-control", "retry-after", "www-authenticate", "location", "content-disposition")

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Forwarded:
    """A request as a service behind gets it."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Upstream:
    """A service behind this one."""

    def __init__(self, name: str, *, http: HttpClient, url: str) -> None:
        self._name = name
        self._http = http
        self._url = url

    async def __call__(self, request: Forwarded) -> Response:
        """Its answer, whatever it is. 503 `service.unavailable` if there is none."""
        answer = await self._send(request)
        if answer.headers.get("content-type", "").startswith(EVENT_STREAM):
            return _response(answer, Streamed(self._events(answer, request), answer.status))
        if int(answer.headers.get("content-length", SMALL_BYTES + 1)) <= SMALL_BYTES:
            return _response(answer, Response(await self._whole(answer), answer.status))
        return _response(answer, Streamed(_pieces(answer), answer.status))

    async def _send(self, request: Forwarded) -> ClientResponse:
        url = f"{self._url}{request.path}" + (f"?{request.query}" if request.query else "")
        headers = {**request.headers, "accept-encoding": "identity"}
        try:
            return await self._http.request(request.method, url, headers=headers, body=request.body or None)
        except NO_ANSWER as error:
            raise self._away(error) from error

    async def _whole(self, answer: ClientResponse) -> bytes:
        try:
            async with answer:
                return await answer.read()
        except NO_ANSWER as error:
            raise self._away(error) from error

    async def _events(self, answer: ClientResponse, request: Forwarded) -> AsyncIterator[bytes]:
        """Each piece as it comes; an end that is none is told as an `error` event."""
        try:
            async with aclosing(_pieces(answer)) as pieces:
                async for piece in pieces:
                    yield piece
        except NO_ANSWER as error:
            problem = self._away(error).problem(request.headers.get(REQUEST_ID.lower(), ""))
            yield b"\n\n" + event("error", problem)

    def _away(self, error: Exception) -> ProblemError:
        log.warning("service away", upstream=self._name, error=type(error).__name__)
        return unavailable(f"The part of the service that answers this ({self._name}) is away. Try again shortly.")


def onward(
    request: Request,
    *,
    caller: Caller | None = None,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Forwarded:
    """The same request for a service behind: its caller's own token, its trace, and nothing a client made up."""
    passed = {name: value for name in _PASSED_ON if (value := request.headers.get(name)) is not None}
    passed[REQUEST_ID.lower()] = request.state.request_id
    if (trace := traceparent()) is not None:
        passed["traceparent"] = trace
    if caller is not None:
        passed["authorization"] = f"Bearer {caller.token}"
    return Forwarded(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        headers={**passed, **(headers or {})},
        body=body,
    )


async def body_of(request: Request) -> bytes:
    """The whole body, 64 KiB at most: 413 beyond."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise ProblemError(
                413, "request.too_large", "Too large", f"The body may have at most {MAX_BODY_BYTES} bytes."
            )
    return bytes(body)


def _response(answer: ClientResponse, response: Response) -> Response:
    for name in _PASSED_BACK:
        if (value := answer.headers.get(name)) is not None:
            response.headers[name] = value
    if answer.status == HTTPStatus.NO_CONTENT:
        del response.headers["content-type"]  # what is not there is of no type
    if answer.headers.get("content-type", "").startswith(EVENT_STREAM):
        response.headers["x-accel-buffering"] = "no"
    return response


async def _pieces(answer: ClientResponse) -> AsyncGenerator[bytes, None]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece

"""One line in the log, one sample in the metrics and one id for each request."""

import re
import time
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import metrics, telemetry
from chassis.answering import CLIENT_CLOSED, response_of
from chassis.ids import uuid7
from chassis.logs import IDS
from chassis.problems import ProblemError
from chassis.streaming import EVENT_STREAM

REQUEST_ID = "X-Request-ID"

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

MAX_HEADER_BYTES = 64 * 1024

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Asked every few seconds by machines: logged at debug level only."""

log = structlog.stdlib.get_logger(__name__)


class Observing:
    """Pure ASGI, outermost: gives the request its id, and tells afterwards how it went."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        seen = _Seen(send, request_id)
        parent = _header(scope, b"traceparent").decode("latin-1")
        with telemetry.request_trace(parent), structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
                    await response_of(headers_too_large(), request_id)(scope, receive, seen.send)
                else:
                    await self._app(scope, receive, seen.send)
            finally:
                _tell(scope, seen, status=CLIENT_CLOSED if state.get("client_gone") else seen.status or CLIENT_CLOSED)


class _Seen:
    """What went out, and when."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._began = time.perf_counter()
        self.status = 0
        self.seconds: float | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            if headers.get("content-type", "").startswith(EVENT_STREAM):
                self.seconds = self.elapsed()  # a stream lasts as long as its reader likes
        await self._send(message)

    def elapsed(self) -> float:
        return time.perf_counter() - self._began


def current_request_id() -> str:
    """The id of the request being answered; empty outside of any."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given.decode() if SANE_ID.fullmatch(given) else uuid7().hex


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _tell(scope: Scope, seen: _Seen, *, status: int) -> None:
    route, method = route_of(scope), scope["method"] if scope["method"] in METHODS else "OTHER"
    seconds = seen.elapsed() if seen.seconds is None else seen.seconds
    metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
    metrics.HTTP_SECONDS.labels(method, route).observe(seconds)
    write = log.debug if route in QUIET else log.info
    write("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **_ids_of(scope))


def route_of(scope: Scope) -> str:
    """The template of the path, never the path: that may hold anything, and each would be a new label."""
    # A router that was included knows only its own part of the path; FastAPI keeps the whole beside it.
    whole = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(whole or scope.get("route"), "path_format", None)  # `path` may tell how its parts are matched
    return path if isinstance(path, str) else "(none)"


def _ids_of(scope: Scope) -> dict[str, str]:
    """The ids of the path that logs may tell: those of deletions and links are secrets."""
    given = {name: str(value) for name, value in scope.get("path_params", {}).items() if name in IDS}
    return {name: value for name, value in given.items() if UUID_FORM.fullmatch(value)}


def headers_too_large() -> ProblemError:
    """431 for headers, or trailers, beyond what any request of ours needs."""
    return ProblemError(
        431, "request.headers_too_large", "Headers too large", "The headers of the request are too large."
    )

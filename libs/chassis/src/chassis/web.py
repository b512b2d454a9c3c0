"""The web edge every service stands behind."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from contracts.problems import CONTENT_TYPE
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from chassis import telemetry
from chassis.answering import Answering, Answers, response_of
from chassis.health import Check, examine
from chassis.methods import Heads
from chassis.observing import REQUEST_ID, Observing, current_request_id
from chassis.problems import ErrorEntry, ProblemError, retry_after_header
from chassis.settings import ServiceSettings

MAX_BODY_BYTES = 1024 * 1024
"""No JSON of ours is near it; uploads have their own limits, and are named in `unbounded`."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

READ = [
    *("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", REQUEST_ID),
    *("Range", "If-Range", "If-None-Match"),
]
"""Headers of requests that pages of other origins may send."""

EXPOSED = [
    *(REQUEST_ID, "Retry-After", "WWW-Authenticate"),
    *("Content-Disposition", "Content-Range", "Accept-Ranges", "ETag"),
]
"""Headers of answers that they may read."""

log = logging.getLogger(__name__)


def create_app(
    settings: ServiceSettings,
    *,
    routers: Iterable[APIRouter] = (),
    lifespan: Lifespan | None = None,
    readiness: Mapping[str, Check] | None = None,
    liveness: Mapping[str, Check] | None = None,
    errors: Mapping[type[Exception], ErrorEntry] | None = None,
    title: str | None = None,
    openapi_url: str | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    unbounded: Iterable[tuple[str, str]] = (),
    cors_origins: Sequence[str] = (),
    **options: Any,
) -> FastAPI:
    """An app that answers every error with a problem, HEAD as GET, knows its health, and observes itself.

    `readiness` and `liveness` may be filled while the lifespan starts. `unbounded` are (method, path) whose body is
    not bounded by `max_body_bytes`. `app.state.stopping` is set when the process has been asked to stop: streams that
    would never end must end then. `options` go to FastAPI.
    """
    telemetry.configure(settings)
    answers = Answers(errors or {})
    handled = (HTTPException, RequestValidationError, ProblemError, *answers.entries)
    app = FastAPI(
        title=title or f"docqa {settings.service}",
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # would repeat the Host header of the request in an address of ours
        lifespan=_told(lifespan),
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers=dict.fromkeys(handled, answers.respond),
        middleware=[
            Middleware(Observing),
            Middleware(Heads),
            *_cors(cors_origins),
            Middleware(Answering, answers=answers, max_body_bytes=max_body_bytes, unbounded=frozenset(unbounded)),
        ],
        **options,
    )
    app.state.settings = settings
    app.state.answers = answers
    app.state.stopping = asyncio.Event()
    for router in routers:
        app.include_router(router)
    # Last, for a request is held against every route before its own.
    app.include_router(_operations({} if readiness is None else readiness, {} if liveness is None else liveness))
    telemetry.observe_app(app, settings)
    return app


def _told(lifespan: Lifespan | None) -> Lifespan:
    """The lifespan, with a clear word in the log if the service cannot start."""

    @asynccontextmanager
    async def told(app: FastAPI) -> Any:
        if lifespan is None:
            yield
            return
        started = False
        try:
            async with lifespan(app):
                started = True
                yield
        except Exception as error:
            log.critical("cannot stop cleanly" if started else "cannot start", exc_info=error)
            raise

    return told


def _operations(readiness: Mapping[str, Check], liveness: Mapping[str, Check]) -> APIRouter:
    """What machines ask. Not under /api, and not in the public description."""
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live(request: Request) -> Response:
        return _health(request, await examine(liveness), "service.stalled")

    @router.get("/health/ready")
    async def ready(request: Request) -> Response:
        missing = await examine(readiness)
        if request.app.state.stopping.is_set():
            missing["process"] = "is stopping"
        return _health(request, missing, "service.not_ready")

    @router.get("/metrics")
    async def prometheus() -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _health(request: Request, missing: dict[str, str], code: str) -> Response:
    if not missing:
        return JSONResponse({"status": "ok"})
    detail = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
    problem = ProblemError(503, code, "Not well", detail).problem(request.state.request_id)
    return JSONResponse(
        {**problem.model_dump(exclude_none=True), "missing": missing},
        status_code=503,
        headers=retry_after_header(None),
        media_type=CONTENT_TYPE,
    )


def _cors(origins: Sequence[str]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            _Cors,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=READ,
            expose_headers=EXPOSED,
            max_age=3600,
        )
    ]


class _Cors(CORSMiddleware):
    """Refuses a preflight with a problem, like everything else."""

    def preflight_response(self, request_headers: Any) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        detail = "This origin, method or header is not allowed; DOCQA_CORS_ORIGINS names the origins that are."
        refused = response_of(ProblemError(400, "cors.refused", "Not allowed", detail), current_request_id())
        refused.headers["Vary"] = "Origin"
        return refused

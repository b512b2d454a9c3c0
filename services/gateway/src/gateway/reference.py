"""What the API says of itself: the limits, `/openapi.json`, and Swagger UI from our own address."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chassis.observing import REQUEST_ID
from contracts.accounts import (
    CreateKeyRequest,
    DeleteAccountRequest,
    LoginRequest,
    LogoutRequest,
    RefreshRequest,
    SignupRequest,
)
from contracts.config import AcceptedType, Config
from contracts.documents import Gone, UploadProblem
from contracts.fields import LONGEST_QUESTION, MOST_PASSAGES, USUAL_PASSAGES
from contracts.problems import Problem
from contracts.questions import (
    AskRequest,
    AskSession,
    AskSources,
    AskToken,
    FeedbackRequest,
    RenameChatRequest,
    SearchRequest,
)
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from gateway.describing import HEADERS, REF, headers
from gateway.filetypes import ACCEPTED
from gateway.parts import PartsDep

ASSETS = "/reference/assets"
OPENAPI = "/openapi.json"
VERSION = importlib.metadata.version("docqa-gateway")

_READ_BY_OTHERS = (
    SignupRequest,
    LoginRequest,
    LogoutRequest,
    RefreshRequest,
    DeleteAccountRequest,
    CreateKeyRequest,
    AskRequest,
    SearchRequest,
    RenameChatRequest,
    FeedbackRequest,
)
"""Bodies that no route of ours declares as a parameter: they are forwarded as they are, or read within bounds."""

_REFUSALS = (Problem, UploadProblem)

_EVENTS = (AskSession, AskSources, AskToken, Gone)
"""What streams tell beside documents, answers and problems."""

_DESCRIPTION = """
Put documents in, ask questions, get answers that cite the page they come from.

1. `POST /api/auth/signup`, then **Authorize** with the same e-mail address and password.
2. `POST /api/upload` a PDF or a text, and look at `GET /api/docs/{document_id}` until it is `ready`. Programs follow it
   on `GET /api/docs/events`; a form like those below cannot show a stream that does not end.
3. `POST /api/ask` a question.

Every error is an RFC 9457 problem with a stable `code`.
"""

router = APIRouter()


@router.get("/api/config", operation_id="show_config", tags=["About"], summary="Limits and models")
async def config(parts: PartsDep) -> Config:
    """What a client should know before anyone logs in."""
    settings = parts.settings
    return Config(
        version=VERSION,
        max_file_bytes=settings.max_file_bytes,
        max_files=settings.max_files,
        accepted=[AcceptedType(extension=end, media_type=kind) for end, kind in ACCEPTED.items()],
        max_question_characters=LONGEST_QUESTION,
        max_top_k=MOST_PASSAGES,
        default_top_k=USUAL_PASSAGES,
        chat_model=settings.chat_model,
        embedding_model=settings.embedding_model,
    )


@router.get("/", include_in_schema=False)
async def front_door() -> Response:
    """What this is, for whoever types the address into a browser."""
    return HTMLResponse(_FRONT_DOOR)


@router.get("/reference", include_in_schema=False)
async def reference() -> Response:
    """Swagger UI; nothing of it comes from elsewhere."""
    return HTMLResponse(_SWAGGER, headers={"Content-Security-Policy": _POLICY})


@router.get("/reference/start.js", include_in_schema=False)
async def start() -> Response:
    """Its few lines of configuration: a file of their own, so that no inline script has to be allowed."""
    return Response(_START, media_type="text/javascript")


@router.get("/favicon.ico", include_in_schema=False)
async def icon() -> Response:
    return Response(status_code=204)


def serve_assets(app: FastAPI) -> None:
    """Swagger UI's own files, as their package carries them."""
    app.mount(ASSETS, StaticFiles(directory=Path(str(swagger_ui_path))), name="swagger")


def operation_id(route: APIRoute) -> str:
    """What generated clients call the operation: its function's name, where a route does not say otherwise."""
    return route.name


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The OpenAPI document: FastAPI's, with the bodies that other services read, problems, and headers of answers."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    return openapi


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="docqa", version=VERSION, summary="Questions to your documents.", description=_DESCRIPTION,
        routes=app.routes, tags=[{"name": name} for name in _IN_READING_ORDER],
    )  # fmt: skip
    _, read = models_json_schema([(model, "validation") for model in _READ_BY_OTHERS], ref_template=REF)
    _, sent = models_json_schema([(model, "serialization") for model in (*_REFUSALS, *_EVENTS)], ref_template=REF)
    document["components"]["schemas"].update(read["$defs"] | sent["$defs"])
    _show_defaults_as_examples(document["components"]["schemas"])
    document["components"]["headers"] = HEADERS
    for answer in _answers_of(document):
        answer.setdefault("headers", {}).update(headers(REQUEST_ID))
    return document


def _show_defaults_as_examples(schemas: dict[str, Any]) -> None:
    """Generated clients take a field with a default for one that is always there, and demand it of who sends it."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if "default" in field:
                field.setdefault("examples", [field.pop("default")])


def _answers_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    return [answer for operation in operations for answer in operation["responses"].values()]


_IN_READING_ORDER = ("Accounts", "Documents", "Questions", "About")

_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'"

_FRONT_DOOR = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>docqa</title>
<style>body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 15vh auto; padding: 0 1rem }</style>
<h1>docqa</h1>
<p>Put documents in, ask questions, get answers that cite the page they come from. This is its API.</p>
<ul>
<li><a href="/reference">Try it in the browser</a></li>
<li><a href="/openapi.json">OpenAPI 3.1</a></li>
<li><a href="/api/config">Limits and models</a></li>
<li><a href="/health/ready">Is it well?</a></li>
</ul>
<p>At a terminal: <code>docqa login</code>, <code>docqa upload report.pdf</code>, <code>docqa ask "…?"</code></p>
</html>
"""

_SWAGGER = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>docqa – reference</title>
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
<link rel="icon" type="image/png" href="{ASSETS}/favicon-32x32.png">
<div id="reference"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script src="/reference/start.js"></script>
</html>
"""

_START = f"""SwaggerUIBundle({{
  url: "{OPENAPI}",
  dom_id: "#reference",
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
}});
"""

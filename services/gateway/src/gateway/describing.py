"""How a route that reads its own request, or writes its own answer, stands in `/openapi.json`."""

from typing import Any

from chassis.observing import REQUEST_ID
from chassis.streaming import EVENT_STREAM
from contracts.documents import UploadProblem
from contracts.problems import CONTENT_TYPE, Problem
from fastapi import Response
from pydantic import BaseModel

from gateway.filetypes import ACCEPTED

REF = "#/components/schemas/{model}"

_TITLES = {
    401: "Not logged in, or the token has expired",
    404: "Nothing with this id is yours",
    408: "The body came too slowly",
    409: "Not as things stand now",
    413: "Too large",
    415: "Of a type that is not taken",
    416: "No such range",
    422: "Invalid, field by field",
    429: "Too often, or too much",
    502: "The model answered nonsense",
    503: "A part of the service is away",
    504: "The model did not answer in time",
}

Responses = dict[int | str, dict[str, Any]]


def _header(description: str, *, always: bool = True, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": {"type": "string", **schema}}


HEADERS = {
    REQUEST_ID: _header("Names this request; the logs and every problem name it too."),
    "WWW-Authenticate": _header("Which credentials are asked for (RFC 6750)."),
    "Retry-After": _header("Seconds after which it is worth asking again.", type="integer", minimum=1),
    "ETag": _header("Names these bytes, for `If-None-Match` and `If-Range`."),
    "Accept-Ranges": _header("`Range` is understood.", const="bytes"),
    "Content-Range": _header("Which bytes these are, of how many; `*` where there are none."),
    "Content-Disposition": _header("To be kept or to be shown, and the name of the file."),
}
"""Headers of answers, as they stand in the description's components; `required` is what is always sent."""

_RETRY_IF_KNOWN = {"Retry-After": {**HEADERS["Retry-After"], "required": False}}


def headers(*names: str) -> dict[str, Any]:
    """Headers that an answer always has."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_OF_PROBLEMS = {
    401: headers("WWW-Authenticate"),
    416: headers("Content-Range"),
    429: headers("Retry-After"),
    502: _RETRY_IF_KNOWN,
    503: headers("Retry-After"),
    504: _RETRY_IF_KNOWN,
}


def problems(*statuses: int, model: type[Problem] = Problem) -> Responses:
    """Problems that a route may answer with; by reference, for FastAPI would declare a `model` as plain JSON, too."""
    content = {CONTENT_TYPE: {"schema": {"$ref": REF.format(model=model.__name__)}}}
    return {
        status: {"description": _TITLES[status], "headers": _OF_PROBLEMS.get(status, {}), "content": content}
        for status in statuses
    }


def answers(model: type[BaseModel], status: int = 200, *, stream: str | None = None) -> Responses:
    """The answer of a route that passes through what another service says; `stream` describes its event stream."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}
    if stream is not None:
        content[EVENT_STREAM] = {"schema": {"type": "string", "description": stream}}
    return {status: {"description": model.__doc__ or "", "model": model, "content": content}}


def forwarded(
    model: type[BaseModel] | None, *refusals: int, status: int = 200, stream: str | None = None
) -> dict[str, Any]:
    """A route's arguments where another service answers: with `model` (None: without a body), or one of `refusals`."""
    given = answers(model, status, stream=stream) if model is not None else {}
    return {"status_code": status, "response_class": Response, "responses": {**given, **problems(*refusals)}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its JSON body itself."""
    schema = {"$ref": REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


PASSWORD_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["username", "password"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "password"},
                        "username": {"type": "string", "format": "email", "description": "The e-mail address."},
                        "password": {"type": "string", "format": "password", "minLength": 1, "maxLength": 1024},
                        "scope": {"type": "string", "maxLength": 1024},
                    },
                }
            }
        },
    }
}

FILES_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},  # what makes a form show a file chooser
                        }
                    },
                }
            }
        },
    }
}

JWKS: Responses = {
    200: {
        "description": "A JSON Web Key Set (RFC 7517).",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["keys"],
                    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
                }
            }
        },
    }
}

_BYTES = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ACCEPTED.values()}

FILE: Responses = {
    200: {
        "description": "The file.",
        "headers": headers("ETag", "Accept-Ranges", "Content-Disposition"),
        "content": _BYTES,
    },
    206: {
        "description": "The range of it that was asked for.",
        "headers": headers("ETag", "Accept-Ranges", "Content-Disposition", "Content-Range"),
        "content": _BYTES,
    },
    304: {"description": "It is what `If-None-Match` names.", "headers": headers("ETag", "Accept-Ranges")},
}

REFUSED_UPLOAD: Responses = {
    **problems(408),
    409: {**problems(409)[409], "headers": _RETRY_IF_KNOWN},
    **problems(413, 415, 422, model=UploadProblem),
}

"""How a route that reads its own request, or writes its own answer, stands in `/openapi.json`."""

from typing import Any

from contracts.problems import CONTENT_TYPE, Problem
from pydantic import BaseModel

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


def problems(*statuses: int) -> Responses:
    """Problems that a route may answer with."""
    return {
        status: {
            "description": _TITLES[status],
            "model": Problem,
            "content": {CONTENT_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}},
        }
        for status in statuses
    }


def answers(model: type[BaseModel], status: int = 200, *, stream: str | None = None) -> Responses:
    """The answer of a route that passes through what another service says; `stream` describes its event stream."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}
    if stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string", "description": stream}}
    return {status: {"description": model.__doc__ or "", "model": model, "content": content}}


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
                        "username": {"type": "string", "description": "The e-mail address."},
                        "password": {"type": "string", "format": "password"},
                        "scope": {"type": "string"},
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

FILE: Responses = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}}},
    206: {"description": "The range of it that was asked for.", "content": {"application/octet-stream": {}}},
    304: {"description": "It is what `If-None-Match` names."},
}

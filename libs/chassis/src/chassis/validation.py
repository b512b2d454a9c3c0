"""What is wrong with a request, field by field, and never what it said."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contracts.problems import FieldError

MOST_ERRORS = 50
"""A list of ten thousand bad ids is refused as well with the first fifty."""

FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

SOURCES = ("body", "query", "path", "header", "cookie")

MAY_QUOTE = frozenset(
    {
        "uuid_parsing",
        "url_parsing",
        "url_syntax_violation",
        "union_tag_invalid",
        "json_invalid",
        "datetime_parsing",
        "datetime_from_date_parsing",
        "date_parsing",
        "date_from_datetime_parsing",
    }
)
"""Kinds whose message repeats a part of what was sent."""

PLAIN = {
    "extra_forbidden": "This field is not known.",
    "json_invalid": "This is not JSON.",
    "model_attributes_type": "Send a JSON object, with Content-Type: application/json.",
    "model_type": "Send a JSON object.",
    "missing": "This field is required.",
    "string_unicode": "This is not well-formed Unicode.",
    "uuid_parsing": "This is not a UUID.",
}


def field_errors(mistakes: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Pydantic's errors as the API tells them: where, which rule, in words that are all our own."""
    return [_field_error(mistake) for _, mistake in zip(range(MOST_ERRORS), mistakes, strict=False)]


def _field_error(mistake: Mapping[str, Any]) -> FieldError:
    kind = str(mistake["type"])
    return FieldError(field=_field(mistake["loc"]), code=kind, detail=_detail(kind, mistake))


def _field(location: Sequence[int | str]) -> str:
    if location and location[0] == "body" and all(isinstance(step, int) for step in location[1:]):
        return "body"  # broken JSON: the rest is a position in it
    steps = location[1:] if len(location) > 1 and location[0] in SOURCES else location
    return ".".join(_step(step) for step in steps)


def _step(step: int | str) -> str:
    """A name as it stands in the request is input, too: only what could be a name of ours is repeated."""
    if isinstance(step, int):
        return str(step)
    return step if FIELD_NAME.fullmatch(step) else "?"


def _detail(kind: str, mistake: Mapping[str, Any]) -> str:
    if kind in PLAIN:
        return PLAIN[kind]
    message = str(mistake.get("msg", "")).removeprefix("Value error, ")
    return "This is not valid." if kind in MAY_QUOTE or _repeats(message, mistake.get("input")) else message


def _repeats(message: str, sent: object) -> bool:
    """Whether a rule of a service (or of a library it uses) quoted what it refused."""
    words = sent.split() if isinstance(sent, str) else []
    return not message or any(len(word) > 3 and word.casefold() in message.casefold() for word in words)

"""Errors as clients see them: RFC 9457 problem details."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from contracts.problems import FieldError, Problem

TYPE_PREFIX = "urn:docqa:error:"

DEFAULT_RETRY_AFTER = 5.0
"""Seconds after which asking again is worth it when nobody knows better: a restart of a store takes about as long."""


CHALLENGE = {"WWW-Authenticate": 'Bearer realm="docqa"'}
"""What a 401 must carry (RFC 9110, section 11.6.1)."""


@dataclass(frozen=True)
class ErrorEntry:
    """One line of the table error -> answer. The detail is the error's own `detail`, or else its message; a 422 refuses
    the error's own `field`, or else the whole body.
    """

    status: int
    code: str
    title: str


class ProblemError(Exception):
    """An error answer, ready to be sent."""

    def __init__(  # noqa: PLR0917 - in the order in which the answer is read
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)

    def problem(self, request_id: str) -> Problem:
        """The body of the answer; also what an `error` event of a stream carries."""
        return Problem(
            type=TYPE_PREFIX + self.code,
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
            errors=self.errors or None,
        )


def unavailable(
    detail: str = "A part of the service is away. Try again shortly.",
    retry_after: float | None = None,
) -> ProblemError:
    """503 `service.unavailable`: something this needs is away, and asking again will help."""
    return ProblemError(
        503,
        "service.unavailable",
        "Service unavailable",
        detail,
        headers=retry_after_header(retry_after),
    )


def invalid(field: str, code: str, detail: str) -> ProblemError:
    """422 for one field whose rule no model can express."""
    return invalid_fields([FieldError(field=field, code=code, detail=detail)])


def invalid_fields(errors: Sequence[FieldError]) -> ProblemError:
    """422 `request.invalid`: each refused field is named, and what was sent is never repeated."""
    return ProblemError(422, "request.invalid", "Invalid request", "The request has invalid fields.", errors=errors)


def retry_after_header(seconds: float | None) -> dict[str, str]:
    """`Retry-After` in whole seconds, at least one."""
    return {"Retry-After": str(max(1, ceil(DEFAULT_RETRY_AFTER if seconds is None else seconds)))}


def describe(error: Exception, entries: Mapping[type[Exception], ErrorEntry]) -> ProblemError | None:
    """The answer to `error` by the table, its nearest class first; None if the table does not know it."""
    if isinstance(error, ProblemError):
        return error
    entry = next((entries[kind] for kind in type(error).__mro__ if kind in entries), None)
    if entry is None:
        return None
    retry_after = getattr(error, "retry_after", None)
    detail = str(getattr(error, "detail", None) or error)
    field = str(getattr(error, "field", "body"))
    wants_retry = retry_after is not None or entry.status in (429, 503)
    return ProblemError(
        entry.status,
        entry.code,
        entry.title,
        detail,
        headers={
            **(CHALLENGE if entry.status == 401 else {}),
            **getattr(error, "headers", {}),
            **(retry_after_header(retry_after) if wants_retry else {}),
        },
        errors=[FieldError(field=field, code=entry.code, detail=detail)] if entry.status == 422 else (),
    )

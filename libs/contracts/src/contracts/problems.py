"""How an error looks: RFC 9457 problem details."""

from contracts.fields import Response

CONTENT_TYPE = "application/problem+json"


class FieldError(Response):
    """One field that was refused. It never repeats what was sent."""

    field: str
    code: str
    detail: str


class Problem(Response):
    """Every error answer; `code` is the stable name that programs act on, and stands in docs/errors.md."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] | None = None

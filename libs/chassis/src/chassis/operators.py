"""Routes for whoever operates an installation: they want its secret, and the gateway forwards none of them."""

from hmac import compare_digest

from fastapi import Request

from chassis.settings import OperatorSettings


class OperatorRefused(Exception):
    """Not the operator, or nobody is one here; the message says which."""


async def require_operator(request: Request) -> None:
    """`Authorization: Bearer <DOCQA_OPERATOR_TOKEN>`. Raises `OperatorRefused`."""
    settings = request.app.state.settings
    secret = settings.operator_token if isinstance(settings, OperatorSettings) else None
    if secret is None:
        raise OperatorRefused("Set DOCQA_OPERATOR_TOKEN for this service: without it nobody may do this.")
    scheme, _, said = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(said.encode(), secret.get_secret_value().encode()):
        raise OperatorRefused("This is for operators: send DOCQA_OPERATOR_TOKEN as a bearer token.")

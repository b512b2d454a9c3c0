"""Who is calling: access tokens, verified by every service itself with auth's public keys."""

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol
from uuid import UUID

import jwt
from contracts.tokens import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE, AccessClaims
from fastapi import Depends, Request
from pydantic import ValidationError

from chassis.problems import ProblemError

LEEWAY = 30.0
"""Seconds by which the clocks of two machines may differ."""

MAX_TOKEN_LENGTH = 4096
"""Ours have about 600 characters; nobody has to hash a megabyte to learn that it is no token."""

REMEMBERED = 2000
"""Tokens whose signature was found good, of about 2 KiB each: whoever asks again within the quarter of an hour does so
with the same one."""

KID = re.compile(r"[A-Za-z0-9_-]{1,64}")

ALLOWED_HEADER = frozenset({"alg", "typ", "kid"})
"""No `jku`, `x5u`, `jwk` or `crit`: a token does not say where its key comes from."""


@dataclass(frozen=True)
class Caller:
    """The person behind a request. `token` is passed on to the services behind, and must not be logged."""

    user_id: UUID
    email: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: datetime


class Verifier(Protocol):
    """Tells whose token it is, or raises the 401 (or 503) to answer with."""

    async def verify(self, token: str) -> Caller: ...


class KeySource(Protocol):
    """The public keys by their id; a different set each time it is asked is fine."""

    async def key(self, kid: str) -> jwt.PyJWK | None: ...


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that was good; it is for as long as its key is one of auth's, and until it expires."""

    caller: Caller
    kid: str
    key: jwt.PyJWK
    until: float


class TokenVerifier:
    """Verifies access tokens: EdDSA only, our own issuer, audience and type."""

    def __init__(
        self,
        keys: KeySource,
        issuer: str = ISSUER,
        audience: str = AUDIENCE,
        leeway: float = LEEWAY,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._verified: dict[str, _Verified] = {}

    async def verify(self, token: str) -> Caller:
        """The caller, or a 401 as a `ProblemError`: `auth.token_expired` or `auth.token_invalid`."""
        known = self._verified.get(token)
        if known is not None and time.time() < known.until and await self._keys.key(known.kid) is known.key:
            return known.caller
        kid = self._kid(token)
        key = await self._keys.key(kid)
        if key is None or key.algorithm_name != ALGORITHM:
            raise token_invalid("The token was signed with an unknown key.")
        try:
            claims = AccessClaims.model_validate(self._claims(token, key))
            expires_at = datetime.fromtimestamp(claims.exp, UTC)
        except jwt.ExpiredSignatureError:
            raise token_expired() from None
        except (jwt.PyJWTError, ValidationError, ValueError, TypeError, OverflowError, OSError):
            raise token_invalid() from None
        caller = Caller(user_id=claims.sub, email=claims.email, token=token, expires_at=expires_at)
        self._remember(_Verified(caller, kid, key, claims.exp + self._leeway))
        return caller

    def _remember(self, verified: _Verified) -> None:
        if len(self._verified) >= REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[verified.caller.token] = verified

    def _kid(self, token: str) -> str:
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise token_invalid()
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise token_invalid() from None
        kid = header.get("kid")
        if (
            header.get("alg") != ALGORITHM
            or str(header.get("typ")).lower() != TOKEN_TYPE
            or not ALLOWED_HEADER.issuperset(header)
            or not isinstance(kid, str)
            or not KID.fullmatch(kid)
        ):
            raise token_invalid()
        return kid

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway,
            options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"], "strict_aud": True},
        )


def bearer(request: Request) -> str:
    """The bearer credential of a request, whichever kind it is; 401 if there is none, or more than one."""
    given = request.headers.getlist("authorization")
    if not given:
        raise token_invalid("Log in first: there is no Authorization header.", challenge='Bearer realm="docqa"')
    scheme, _, credential = given[0].partition(" ")
    credential = credential.strip()
    if len(given) > 1 or scheme.lower() != "bearer" or not credential or " " in credential:
        raise token_invalid("Send exactly one Authorization header: Bearer and the token.")
    return credential


async def require_caller(request: Request) -> Caller:
    """The caller of this request. The verifier is `app.state.verifier`, put there by `main.py`."""
    verifier: Verifier = request.app.state.verifier
    caller = await verifier.verify(bearer(request))
    request.state.caller = caller
    return caller


CallerDep = Annotated[Caller, Depends(require_caller)]


def token_invalid(
    detail: str = "The token is not one of ours. Log in again.",
    challenge: str = 'Bearer realm="docqa", error="invalid_token"',
) -> ProblemError:
    """401 `auth.token_invalid`: log in."""
    return ProblemError(401, "auth.token_invalid", "Not logged in", detail, headers={"WWW-Authenticate": challenge})


def token_expired() -> ProblemError:
    """401 `auth.token_expired`: refresh."""
    return ProblemError(
        401,
        "auth.token_expired",
        "Token expired",
        "The token has expired. Refresh it, or log in again.",
        headers={
            "WWW-Authenticate": 'Bearer realm="docqa", error="invalid_token", error_description="The token has expired"'
        },
    )

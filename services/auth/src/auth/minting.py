"""Access tokens: signed, short-lived, believed by every service without asking."""

import time
from dataclasses import dataclass
from uuid import UUID

import jwt
from chassis.ids import uuid7
from contracts.tokens import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE, AccessClaims

from auth.signing import SigningKey


@dataclass(frozen=True)
class AccessToken:
    """A token and its life in seconds."""

    text: str
    expires_in: int


def mint(key: SigningKey, *, user_id: UUID, email: str, seconds: int) -> AccessToken:
    """A token that says who its bearer is, for so many seconds."""
    now = int(time.time())
    claims = AccessClaims(iss=ISSUER, aud=AUDIENCE, sub=user_id, iat=now, exp=now + seconds, jti=uuid7(), email=email)
    text = jwt.encode(
        claims.model_dump(mode="json"), key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": TOKEN_TYPE}
    )
    return AccessToken(text=text, expires_in=seconds)

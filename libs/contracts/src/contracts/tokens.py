"""What an access token says of its bearer."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict

ISSUER = "docqa"
AUDIENCE = "docqa"
ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - the `typ` header of RFC 9068, no secret
KEY_PREFIX = "dq_"
"""What an API key begins with, so that a bearer credential tells which of the two it is."""


class AccessClaims(BaseModel):
    """The claims of an access token. Times are seconds since 1970; `sub` is the user's id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    iss: str
    aud: str
    sub: UUID
    iat: int
    exp: int
    jti: UUID
    email: str

"""Accounts over HTTP."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from contracts.fields import Request, Response, Utc, visible

SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 128
"""Characters of a password that is set."""

Email = Annotated[
    str,
    Field(min_length=3, max_length=254, examples=["ada@example.org"], json_schema_extra={"format": "email"}),
]


def _password(password: SecretStr) -> SecretStr:
    if len(password.get_secret_value()) < SHORTEST_PASSWORD:
        raise PydanticCustomError("string_too_short", f"must have {SHORTEST_PASSWORD} characters or more")
    if len(password.get_secret_value()) > LONGEST_PASSWORD:
        raise PydanticCustomError("string_too_long", f"must have {LONGEST_PASSWORD} characters or fewer")
    return password


Password = Annotated[
    SecretStr,
    AfterValidator(_password),
    Field(json_schema_extra={"minLength": SHORTEST_PASSWORD, "maxLength": LONGEST_PASSWORD}),
]
# What is compared and not set may be any length that is no attack: a wrong password is a wrong password.
GivenPassword = Annotated[SecretStr, Field(min_length=1, max_length=1024)]


def _name(text: str) -> str:
    trimmed = visible(text)
    if not trimmed:
        raise ValueError("must not be blank")
    if not trimmed.isprintable():
        raise ValueError("must not contain control characters")
    return trimmed


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_name)]


class SignupRequest(Request):
    """`POST /api/auth/signup`."""

    email: Email
    password: Password
    name: Name | None = None


class LoginRequest(Request):
    """`POST /api/auth/login`."""

    email: Email
    password: GivenPassword


class RefreshRequest(Request):
    """`POST /api/auth/refresh`."""

    refresh_token: Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class LogoutRequest(Request):
    """`POST /api/auth/logout`. Its token may be anything: whoever wants to be out is out."""

    refresh_token: SecretStr


class DeleteAccountRequest(Request):
    """`DELETE /api/auth/me` and `POST /api/auth/me/delete`."""

    password: GivenPassword


class User(Response):
    """An account, as its holder sees it."""

    id: UUID
    email: str
    name: str | None
    created_at: Utc


class Tokens(Response):
    """A new pair of tokens; `expires_in` is the access token's life in seconds."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    user: User
    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the scheme's name, no secret
    expires_in: int


class AccountDeletion(Response):
    """The receipt to ask for: `GET /api/deletions/{deletion_id}`, without a login."""

    deletion_id: UUID


class CreateKeyRequest(Request):
    """`POST /api/auth/keys`."""

    name: Name
    expires_at: Utc | None = None


class ApiKey(Response):
    """An API key without its secret; `prefix` is what it begins with."""

    id: UUID
    name: str
    prefix: str
    created_at: Utc
    expires_at: Utc | None
    last_used_at: Utc | None


class NewApiKey(ApiKey):
    """An API key with its secret, which is shown this once."""

    key: str


class ApiKeys(Response):
    """`GET /api/auth/keys`."""

    items: list[ApiKey]

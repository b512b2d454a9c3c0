"""What clients send, with the rules that only auth knows."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from contracts.accounts import CreateKeyRequest, Email, GivenPassword, LoginRequest, SignupRequest
from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator

from auth.emails import normalized
from auth.passwords import acceptable

_FAR_FUTURE = timedelta(days=36525)


class Signup(SignupRequest):
    """A sign-up whose address is one and whose password protects something."""

    _email = field_validator("email")(normalized)

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr) -> SecretStr:
        acceptable(value.get_secret_value())
        return value


class Login(LoginRequest):
    """A login whose address is one."""

    _email = field_validator("email")(normalized)


class PasswordForm(BaseModel):
    """The OAuth2 password grant, RFC 6749 section 4.3. Fields that we do not know are ignored, as it demands."""

    grant_type: Literal["password"] = "password"
    username: Annotated[Email, AfterValidator(normalized)]
    password: GivenPassword
    scope: Annotated[str, Field(max_length=1024)] = ""
    client_id: Annotated[str, Field(max_length=1024)] | None = None
    client_secret: Annotated[SecretStr, Field(max_length=1024)] | None = None


class CreateKey(CreateKeyRequest):
    """An API key to be made, that works for a while at least."""

    @field_validator("expires_at")
    @classmethod
    def _expires_at(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        now = datetime.now(UTC)
        if value <= now:
            raise ValueError("must be in the future")
        if value > now + _FAR_FUTURE:
            raise ValueError("must be within a hundred years; leave it out for a key that does not expire")
        return value.astimezone(UTC)

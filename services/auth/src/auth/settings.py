"""What auth is told."""

from typing import Annotated, ClassVar

from chassis.settings import ServiceSettings
from pydantic import Field

Seconds = Annotated[int, Field(gt=0)]


class AuthSettings(ServiceSettings):
    """Lives of credentials, and the bounds on guessing them."""

    service: ClassVar[str] = "auth"

    access_token_seconds: Seconds = Field(default=15 * 60, le=24 * 3600, description="Life of an access token.")
    refresh_token_seconds: Seconds = Field(default=30 * 86400, description="Life of a refresh token.")
    # Gateways cache it for as long: a deleted API key works for at most a minute more at those that did not delete it.
    exchanged_token_seconds: Seconds = Field(
        default=60, le=900, description="Life of the token that the gateway gets for an API key."
    )
    signing_key_seconds: Seconds = Field(
        default=30 * 86400, ge=3600, description="How long one key signs before the next one does."
    )
    login_failures: int = Field(default=10, ge=1, description="Failed logins that an account may have in the window.")
    login_failures_window_seconds: Seconds = Field(default=15 * 60, description="The window in which they are counted.")
    max_api_keys: int = Field(default=100, ge=1, description="API keys that one account can have.")
    # One hash keeps one core busy and takes 19 MiB.
    password_threads: int = Field(default=2, ge=1, le=64, description="Passwords that are compared at the same time.")
    # About 2.5 s of work for two threads: whoever comes later is told to try again.
    password_queue: int = Field(default=200, ge=1, description="Passwords that may wait to be compared.")

"""Which model embeds and which one answers, and how patient we are with them."""

from typing import Annotated

from chassis.settings import HttpUrl
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

OPENAI, GOOGLE_GENAI = "openai", "google_genai"
PROVIDER_NAMES = (OPENAI, GOOGLE_GENAI)
"""What stands before the colon of a model's name; `providers` has what is behind each."""


def _checked(value: str, *, own: str) -> str:
    provider, colon, model = value.partition(":")
    if value != own and (provider not in PROVIDER_NAMES or not colon or not model.strip()):
        remote = " or ".join(f"{name}:<model>" for name in PROVIDER_NAMES)
        raise ValueError(f"must be {own}, {remote}")
    return value


def checked_embedding_model(value: str) -> str:
    """The name itself, if it is that of an embedding model; `ValueError` otherwise."""
    return _checked(value, own="local")


def _chat_model(value: str) -> str:
    return _checked(value, own="extractive")


class ModelSettings(BaseSettings):
    """For services that embed or answer; the names are shared, for the two must agree."""

    embedding_model: Annotated[str, AfterValidator(checked_embedding_model)] = Field(
        default="local", description="local, openai:<model> or google_genai:<model>."
    )
    embedding_dimension: int | None = Field(
        default=None, ge=1, le=16_384, description="Numbers in a vector; needed for a remote model that we do not know."
    )
    evidence_floor: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Cosine below which a passage is no evidence, instead of the model's own.",
    )
    embedding_threads: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Threads of the local model; all cores for documents and half for questions by default.",
    )
    chat_model: Annotated[str, AfterValidator(_chat_model)] = Field(
        default="extractive", description="extractive, openai:<model> or google_genai:<model>."
    )
    openai_api_key: SecretStr | None = Field(default=None, description="Key for openai: models.")
    openai_base_url: HttpUrl | None = Field(
        default=None, description="An OpenAI-compatible server, with its /v1; it may need no key."
    )
    google_api_key: SecretStr | None = Field(default=None, description="Key for google_genai: models.")
    google_base_url: HttpUrl | None = Field(default=None, description="A Gemini-compatible server.")
    provider_timeout: float = Field(
        # Embedding 64 chunks takes a provider 1 to 3 s, a slow first token 10 s.
        default=30,
        gt=0,
        le=600,
        description="Seconds that a provider may take for an embedding call, or for the next piece of an answer; for a "
        "question's embedding all tries together.",
    )
    provider_in_flight: int = Field(
        default=8, ge=1, le=256, description="Calls to a model of a provider at one time, per process."
    )
    provider_texts_per_call: int = Field(
        default=64, ge=1, le=2048, description="Texts in one embedding call; Gemini takes 100, OpenAI 2048."
    )
    provider_retries: int = Field(
        # For people who wait. Documents are not tried again here: their job is, with longer pauses.
        default=2,
        ge=0,
        le=10,
        description="How often a question's call is made again after trouble that may pass.",
    )
    chat_time_limit: float = Field(
        default=180, gt=0, le=3600, description="Seconds that a whole answer may take, from question to last word."
    )

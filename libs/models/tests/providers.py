"""Both remote providers as tests see them."""

from dataclasses import dataclass
from typing import Any

from models.settings import ModelSettings
from pydantic import SecretStr

from tests.stubs.providers import GeminiStub, OpenAIStub


@dataclass(frozen=True)
class Remote:
    """A stub, and the settings that lead to it."""

    stub: OpenAIStub | GeminiStub
    provider: str
    embedding_model: str

    def settings(self, *, key: str | None = "a-good-key", **others: Any) -> ModelSettings:
        return ModelSettings(
            **{
                "embedding_model": self.embedding_model,
                "chat_model": f"{self.provider}:some-model",
                f"{self.key_name}_api_key": SecretStr(key) if key else None,
                f"{self.key_name}_base_url": self.stub.base_url,
                "provider_retries": 0,
                **others,
            }
        )

    @property
    def key_name(self) -> str:
        return self.provider.partition("_")[0]


def openai(stub: OpenAIStub) -> Remote:
    return Remote(stub, "openai", "openai:text-embedding-3-small")


def gemini(stub: GeminiStub) -> Remote:
    return Remote(stub, "google_genai", "google_genai:gemini-embedding-001")

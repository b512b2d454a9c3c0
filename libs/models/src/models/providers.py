"""The providers, each behind its own library."""

from collections.abc import Callable
from dataclasses import dataclass

from chassis.failures import Failure

from models import gemini, openai_compatible
from models.calls import ChatCalls, EmbeddingCalls
from models.settings import GOOGLE_GENAI, OPENAI, ModelSettings


@dataclass(frozen=True)
class Provider:
    """How a provider's models are opened (settings, model's own name), and what an error of its library's means."""

    open_embeddings: Callable[[ModelSettings, str, int | None], EmbeddingCalls]
    open_chat: Callable[[ModelSettings, str], ChatCalls]
    failure: Callable[[Exception, float], Failure]
    """Of an error, and the time limit in seconds that was kept."""


PROVIDERS = {
    OPENAI: Provider(openai_compatible.open_embeddings, openai_compatible.open_chat, openai_compatible.failure),
    GOOGLE_GENAI: Provider(gemini.open_embeddings, gemini.open_chat, gemini.failure),
}

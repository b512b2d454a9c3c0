"""The providers behind LangChain's classes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chassis.failures import Failure

from models import gemini, openai_compatible
from models.settings import ModelSettings

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel


@dataclass(frozen=True)
class Provider:
    """How a provider's models are opened (settings, model's own name) and closed, and what an error of theirs means."""

    open_embeddings: "Callable[[ModelSettings, str, int | None], Embeddings]"
    open_chat: "Callable[[ModelSettings, str], BaseChatModel]"
    close: Callable[[Any], Awaitable[None]]
    failure: Callable[[Exception, float], Failure]
    """Of an error, and the time limit in seconds that was kept."""


PROVIDERS = {
    "openai": Provider(
        openai_compatible.open_embeddings,
        openai_compatible.open_chat,
        openai_compatible.close,
        openai_compatible.failure,
    ),
    "google_genai": Provider(gemini.open_embeddings, gemini.open_chat, gemini.close, gemini.failure),
}

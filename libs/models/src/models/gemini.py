"""Google's Gemini API, and servers that speak its protocol."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from chassis.failures import Failure
from pydantic import SecretStr

from models.calls import ChatCalls, EmbeddingCalls
from models.chains import chain_of
from models.failures import bad_answer, from_status, no_key, out_of_time, unreachable
from models.settings import ModelSettings

if TYPE_CHECKING:
    from google.genai.errors import APIError
    from httpx import AsyncHTTPTransport


GOOGLE = "https://generativelanguage.googleapis.com"


def open_embeddings(settings: ModelSettings, model: str, dimensions: int | None) -> EmbeddingCalls:
    """`dimensions` only if the model is to give another number of them than its own."""
    key = _key(settings)
    _keep_to_ourselves()
    from langchain_google_genai import GoogleGenerativeAIEmbeddings

    from models.gemini_calls import GeminiEmbeddings

    return GeminiEmbeddings(
        GoogleGenerativeAIEmbeddings(
            model=model,
            api_key=key,
            base_url=settings.google_base_url,
            output_dimensionality=dimensions,
            vertexai=False,
            client_args={"transport": _transport(settings)},
        )
    )


def open_chat(settings: ModelSettings, model: str) -> ChatCalls:
    key = _key(settings)
    _keep_to_ourselves()
    from langchain_google_genai import ChatGoogleGenerativeAI

    from models.gemini_calls import GeminiChat

    return GeminiChat(
        ChatGoogleGenerativeAI(
            model=model,
            api_key=key,
            base_url=settings.google_base_url,
            max_retries=1,  # counts the first try
            timeout=settings.provider_timeout,
            vertexai=False,
            client_args={"transport": _transport(settings)},
        )
    )


def failure(error: Exception, time_limit: float) -> Failure:
    """What an error of LangChain's, Google's or httpx's means."""
    import httpx
    from google.genai.errors import APIError

    for cause in chain_of(error):
        if isinstance(cause, httpx.TimeoutException):
            return out_of_time(time_limit)
        if isinstance(cause, APIError):
            return _from_api(cause)
        if isinstance(cause, httpx.TransportError):
            return unreachable()
    return bad_answer(type(error).__name__)


def _from_api(error: "APIError") -> Failure:
    # Gemini says 400 of a wrong key, and only its words tell.
    status = 401 if error.code == 400 and "API_KEY_INVALID" in str(error.details) else error.code
    headers = getattr(error.response, "headers", None) or {}
    return from_status(status or 200, headers)


def _transport(settings: ModelSettings) -> "AsyncHTTPTransport":
    """A transport of our own makes the library use httpx: over aiohttp it sleeps up to ten seconds and tries again.

    It has to find the environment's proxy by itself, then.
    """
    from httpx import AsyncHTTPTransport

    url = urlsplit(str(settings.google_base_url or GOOGLE))
    directly = proxy_bypass(url.hostname or "")
    return AsyncHTTPTransport(proxy=None if directly else getproxies().get(url.scheme))


def _keep_to_ourselves() -> None:
    """Documents and questions go to the provider and to nobody else, whatever the environment says of LangSmith."""
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_GATEWAY"):
        os.environ[name] = "false"


def _key(settings: ModelSettings) -> SecretStr:
    if settings.google_api_key is None:
        raise no_key("DOCQA_GOOGLE_API_KEY")
    return settings.google_api_key

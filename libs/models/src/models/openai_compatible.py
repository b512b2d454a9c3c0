"""OpenAI, and every server that speaks its protocol."""

from typing import TYPE_CHECKING

from chassis.failures import Failure

from models.calls import ChatCalls, EmbeddingCalls
from models.chains import chain_of
from models.failures import bad_answer, from_status, no_key, out_of_time, unreachable
from models.settings import ModelSettings

CONNECTIONS = 100
IDLE_SECONDS = 60.0
"""For which a connection is kept: opening one to a provider takes as long as a short answer."""

if TYPE_CHECKING:
    from openai import AsyncOpenAI


def open_embeddings(settings: ModelSettings, model: str, dimensions: int | None) -> EmbeddingCalls:
    """`dimensions` only if the model is to give another number of them than its own."""
    key = _key(settings)
    from models.openai_calls import OpenAIEmbeddings

    return OpenAIEmbeddings(_client(settings, key), model, dimensions)


def open_chat(settings: ModelSettings, model: str) -> ChatCalls:
    key = _key(settings)
    from models.openai_calls import OpenAIChat

    return OpenAIChat(_client(settings, key), model)


def failure(error: Exception, time_limit: float) -> Failure:
    """What an error of OpenAI's or aiohttp's means."""
    import aiohttp
    import openai

    for cause in chain_of(error):
        if isinstance(cause, openai.APIStatusError):
            return from_status(cause.status_code, cause.response.headers)
        if isinstance(cause, openai.APIError) and str(cause.code).isdecimal():  # in the middle of a stream
            return from_status(int(str(cause.code)), {})
        if isinstance(cause, TimeoutError):
            return out_of_time(time_limit)
        if isinstance(cause, aiohttp.ClientError):
            return unreachable()
    return bad_answer(type(error).__name__)


def _client(settings: ModelSettings, key: str) -> "AsyncOpenAI":
    """One for each model: a connection belongs to a loop, and the library's own client to all of the process."""
    from httpx2 import Limits
    from openai import AsyncOpenAI, DefaultAioHttpClient

    return AsyncOpenAI(
        api_key=key,
        base_url=settings.openai_base_url,
        timeout=settings.provider_timeout,
        max_retries=0,
        http_client=DefaultAioHttpClient(limits=Limits(max_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS)),
    )


def _key(settings: ModelSettings) -> str:
    if settings.openai_api_key is not None:
        return settings.openai_api_key.get_secret_value()
    if settings.openai_base_url is None:
        raise no_key("DOCQA_OPENAI_API_KEY")
    return "none"  # a server of one's own often wants no key, the library always one

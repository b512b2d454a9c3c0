"""OpenAI, and every server that speaks its protocol."""

from typing import TYPE_CHECKING

from chassis.failures import Failure
from pydantic import SecretStr

from models.chains import chain_of
from models.failures import bad_answer, from_status, no_key, out_of_time, unreachable
from models.opening import keep_to_ourselves
from models.settings import ModelSettings

CONNECTIONS = 100
IDLE_SECONDS = 60.0
"""For which a connection is kept: opening one to a provider takes as long as a short answer."""

HELD_BY_THE_CLIENT = SecretStr("held by the client")
"""What LangChain gets for a key: it calls nobody itself, and asks more of a client if the key is one of LangSmith's."""

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    from openai import AsyncOpenAI


def open_embeddings(settings: ModelSettings, model: str, dimensions: int | None) -> "OpenAIEmbeddings":
    """`dimensions` only if the model is to give another number of them than its own."""
    key = _key(settings)
    keep_to_ourselves()
    from langchain_openai import OpenAIEmbeddings

    from models.openai_calls import EmbeddingCalls

    calls = EmbeddingCalls(_client(settings, key))
    return OpenAIEmbeddings(
        model=model,
        dimensions=dimensions,
        openai_api_key=HELD_BY_THE_CLIENT,
        client=calls,
        async_client=calls,
        chunk_size=settings.provider_texts_per_call,
        # True would fetch tiktoken's tables from the network, and send tokens where many servers want text.
        check_embedding_ctx_length=False,
    )


def open_chat(settings: ModelSettings, model: str) -> "ChatOpenAI":
    key = _key(settings)
    keep_to_ourselves()
    from langchain_openai import ChatOpenAI

    from models.openai_calls import ChatCalls

    calls = ChatCalls(_client(settings, key))
    return ChatOpenAI(
        model=model,
        api_key=HELD_BY_THE_CLIENT,
        client=calls,
        async_client=calls,
        stream_chunk_timeout=None,  # ours is around it
        stream_usage=True,
        use_responses_api=False,
    )


async def close(model: "OpenAIEmbeddings | ChatOpenAI") -> None:
    """Close the model's connections."""
    await model.async_client.aclose()


def failure(error: Exception, time_limit: float) -> Failure:
    """What an error of LangChain's, OpenAI's or aiohttp's means."""
    import aiohttp
    import openai

    for cause in chain_of(error):
        if isinstance(cause, openai.APIStatusError):
            return from_status(cause.status_code, cause.response.headers)
        if isinstance(cause, TimeoutError):
            return out_of_time(time_limit)
        if isinstance(cause, aiohttp.ClientError):
            return unreachable()
    return bad_answer(type(error).__name__)


def _client(settings: ModelSettings, key: SecretStr) -> "AsyncOpenAI":
    """One for each model: a connection belongs to a loop, and the library's own client to all of the process."""
    from httpx2 import Limits
    from openai import AsyncOpenAI, DefaultAioHttpClient

    return AsyncOpenAI(
        api_key=key.get_secret_value(),
        base_url=settings.openai_base_url,
        timeout=settings.provider_timeout,
        max_retries=0,
        http_client=DefaultAioHttpClient(limits=Limits(max_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS)),
    )


def _key(settings: ModelSettings) -> SecretStr:
    if settings.openai_api_key is not None:
        return settings.openai_api_key
    if settings.openai_base_url is None:
        raise no_key("DOCQA_OPENAI_API_KEY")
    return SecretStr("none")  # a server of one's own often wants no key, the library always one

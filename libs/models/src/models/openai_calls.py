"""The two calls of OpenAI's that LangChain's classes make, answered in plain JSON.

OpenAI's own resources make a model of every piece of an answer, and a list of numbers of every vector; LangChain makes
dicts of the models at once, we an array of the list. That was half of a call's processor time.
"""

import base64
from typing import Any

import numpy as np
from openai import AsyncOpenAI, AsyncStream


class _Calls:
    """Calls by `client`, which it closes."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def aclose(self) -> None:
        await self._client.close()


class ChatCalls(_Calls):
    """What `ChatOpenAI` streams from, in place of `AsyncOpenAI.chat.completions`; raises the same errors."""

    async def create(self, **body: Any) -> AsyncStream[object]:
        return await self._client.post(
            "/chat/completions", body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
        )


class EmbeddingCalls(_Calls):
    """What `OpenAIEmbeddings` calls, in place of `AsyncOpenAI.embeddings`.

    Each embedding comes as a 1D float32 array, or as whatever a server sends that knows no base64. An answer of another
    shape raises `TypeError`, `KeyError` or `ValueError`; all else as `AsyncOpenAI` does.
    """

    async def create(self, **body: Any) -> dict[str, Any]:
        packed = {**body, "encoding_format": "base64"}
        answer: Any = await self._client.post("/embeddings", body=packed, cast_to=object)
        for item in answer["data"]:
            if isinstance(item["embedding"], str):
                item["embedding"] = np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
        whole: dict[str, Any] = answer
        return whole

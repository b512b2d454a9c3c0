"""The two calls of OpenAI's protocol, by OpenAI's client, answered in plain JSON.

The client's own resources make a pydantic model of every piece of an answer, and a list of Python's numbers of every
vector. That was half of a call's processor time.
"""

import base64
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
from openai import AsyncOpenAI, AsyncStream

from models.calls import Piece, Vector
from models.chat import Message, Usage


class _OpenAI:
    """Calls of one model by `client`, which it closes.

    An answer of another shape than the protocol's raises `AttributeError`, `KeyError`, `IndexError`, `TypeError` or
    `ValueError`; all else as `AsyncOpenAI` does.
    """

    def __init__(self, client: AsyncOpenAI, model: str) -> None:
        self._client = client
        self._model = model

    async def close(self) -> None:
        await self._client.close()


class OpenAIChat(_OpenAI):
    """Streams answers."""

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        body = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        chunks: AsyncStream[Any] = await self._client.post(
            "/chat/completions", body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
        )
        async with chunks:
            async for chunk in chunks:
                yield _piece(chunk)


class OpenAIEmbeddings(_OpenAI):
    """Embeds. Each vector comes as a 1D float32 array, or as a list from a server that knows no base64."""

    def __init__(self, client: AsyncOpenAI, model: str, dimensions: int | None) -> None:
        super().__init__(client, model)
        self._dimensions = dimensions

    async def embed_texts(self, texts: Sequence[str]) -> Sequence[Vector]:
        body: dict[str, Any] = {"model": self._model, "input": list(texts), "encoding_format": "base64"}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        answer: Any = await self._client.post("/embeddings", body=body, cast_to=object)
        return [_vector(item["embedding"]) for item in answer["data"]]

    async def embed_question(self, question: str) -> Vector:
        (vector,) = await self.embed_texts([question])
        return vector


def _piece(chunk: Any) -> Piece:
    choice: Any = next(iter(chunk.get("choices") or ()), {})  # the last chunk has the usage, and no choice
    delta, usage = choice.get("delta") or {}, chunk.get("usage")
    return Piece(
        text=delta.get("content") or "",
        end=choice.get("finish_reason") or "",
        usage=Usage(usage["prompt_tokens"], usage["completion_tokens"]) if usage else None,
    )


def _vector(embedding: Any) -> Vector:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), "<f4")
    numbers: Vector = embedding
    return numbers

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

REFUSAL = "content_filter"
"""How an answer ends that the model itself refuses: what it says then is no answer, and not sent as one."""


class _OpenAI:
    """Calls of one model by `client`, which it closes.

    An answer of another shape than the protocol's raises `AttributeError`, `KeyError`, `TypeError` or `ValueError`; all
    else as `AsyncOpenAI` does.
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
        return [_vector(item["embedding"]) for item in _in_order(answer["data"])]

    async def embed_question(self, question: str) -> Vector:
        (vector,) = await self.embed_texts([question])
        return vector


def _piece(chunk: Any) -> Piece:
    # The last chunk has the usage, and no choice.
    choice: Any = next((choice for choice in chunk.get("choices") or () if not choice.get("index")), {})
    delta = choice.get("delta") or {}
    return Piece(
        text=_text(delta.get("content")),
        end=REFUSAL if delta.get("refusal") else str(choice.get("finish_reason") or ""),
        usage=_usage(chunk.get("usage")),
    )


def _text(content: Any) -> str:
    """Some servers send parts, as they get them."""
    if isinstance(content, list):
        return "".join(_text(part["text"]) for part in content if part["type"] == "text")
    if content is None or isinstance(content, str):
        return content or ""
    raise TypeError("a text that is none")


def _usage(said: Any) -> Usage | None:
    """No answer fails for what its server counts, or does not."""
    if not isinstance(said, dict):
        return None
    tokens = [said.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*tokens) if all(isinstance(count, int) and count >= 0 for count in tokens) else None


def _in_order(items: Any) -> list[Any]:
    """Vectors by the places of their texts, if the server says them."""
    if not any("index" in item for item in items):
        return list(items)
    ordered = sorted(items, key=lambda item: item["index"])
    if [item["index"] for item in ordered] != list(range(len(ordered))):
        raise ValueError("vectors of which nobody knows the texts")
    return ordered


def _vector(embedding: Any) -> Vector:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    numbers: Vector = embedding
    return numbers

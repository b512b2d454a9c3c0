"""The calls of Gemini's API, by LangChain's classes for it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings

from models.calls import Piece, Vector
from models.chat import Message, Usage

_TURNS = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}


class GeminiChat:
    """Streams answers by `model`, whose connections it closes."""

    def __init__(self, model: ChatGoogleGenerativeAI) -> None:
        self._model = model

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        turns: list[BaseMessage] = [_TURNS[message.role](content=message.content) for message in messages]
        # `astream` around it calls back, traces and merges, all for nobody: a third of the call's processor time.
        source = self._model._astream(turns)
        usage: Usage | None = None
        async with aclosing(source) as chunks:  # type: ignore[type-var]  # a generator, typed as less
            async for chunk in chunks:
                usage = _added(usage, chunk)
                said = {**(chunk.generation_info or {}), **chunk.message.response_metadata}
                yield Piece(str(chunk.message.text), str(said.get("finish_reason") or ""), usage)

    async def close(self) -> None:
        await _close(self._model)


class GeminiEmbeddings:
    """Embeds by `model`, whose connections it closes."""

    def __init__(self, model: GoogleGenerativeAIEmbeddings) -> None:
        self._model = model

    async def embed_texts(self, texts: Sequence[str]) -> Sequence[Vector]:
        return await self._model.aembed_documents(list(texts))

    async def embed_question(self, question: str) -> Vector:
        return await self._model.aembed_query(question)

    async def close(self) -> None:
        await _close(self._model)


def _added(before: Usage | None, chunk: ChatGenerationChunk) -> Usage | None:
    """LangChain says with each chunk what came with it."""
    came = getattr(chunk.message, "usage_metadata", None)
    if not came:
        return before
    so_far = before or Usage(0, 0)
    return Usage(so_far.input_tokens + came["input_tokens"], so_far.output_tokens + came["output_tokens"])


async def _close(model: ChatGoogleGenerativeAI | GoogleGenerativeAIEmbeddings) -> None:
    if model.client is not None:
        await model.client.aio.aclose()

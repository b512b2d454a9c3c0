"""Answers by a provider."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from chassis.failures import Permanent, Transient
from chassis.metrics import PROVIDER_TOKENS

from models.calling import Caller, Patience, pause_before_retry
from models.chat import Delta, Message, Usage
from models.failures import REFUSED, UNAVAILABLE, bad_answer
from models.opening import OnFirstUse
from models.providers import PROVIDERS
from models.settings import ModelSettings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk

DECLINED = {"content_filter", "safety", "prohibited_content", "blocklist", "recitation", "spii"}
"""Reasons to end an answer that are the provider's judgement of what was asked."""


class RemoteChat:
    """Streams from a provider; an answer that does not come to its end is an error, not a shorter answer."""

    def __init__(self, settings: ModelSettings) -> None:
        self.name = settings.chat_model
        self._retries = settings.provider_retries
        self._time_limit = settings.chat_time_limit
        self._provider, _, model = self.name.partition(":")
        provider = PROVIDERS[self._provider]
        self._model: OnFirstUse[BaseChatModel] = OnFirstUse(lambda: provider.open_chat(settings, model), provider.close)
        self._caller = Caller(
            provider=self._provider,
            operation="chat",
            in_flight=settings.provider_in_flight,
            time_limit=settings.provider_timeout,
            classify=lambda error: provider.failure(error, settings.provider_timeout),
        )

    async def stream(
        self, messages: Sequence[Message], *, question: str, passages: Sequence[str]
    ) -> AsyncGenerator[Delta | Usage, None]:
        del question, passages  # both are in the messages
        model = await self._model.get()
        prompt = _translate(messages)
        patience = Patience.of(self._time_limit)
        for tries in range(self._retries + 1):
            begun = False
            try:
                async with aclosing(self._answer(model, prompt, patience)) as answer:
                    async for piece in answer:
                        begun = True
                        yield piece
                return
            except Transient as failure:
                if begun and failure.code == UNAVAILABLE:
                    raise bad_answer("it breaks off") from failure
                if begun or tries == self._retries:
                    raise
                await pause_before_retry(failure, tries, patience)

    async def load(self) -> None:
        """Load the provider's library, and contact nobody."""
        await self._model.load()

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._model.close()

    async def _answer(
        self, model: "BaseChatModel", prompt: list["BaseMessage"], patience: Patience
    ) -> AsyncGenerator[Delta | Usage, None]:
        answer = _Answer()
        async with self._caller.place(patience), aclosing(self._chunks(model, prompt, patience)) as chunks:
            async for chunk in chunks:
                if text := answer.take(chunk):
                    yield Delta(text)
            answer.check()
        if usage := answer.usage:
            PROVIDER_TOKENS.labels(self._provider, "chat", "input").inc(usage.input_tokens)
            PROVIDER_TOKENS.labels(self._provider, "chat", "output").inc(usage.output_tokens)
            yield usage

    async def _chunks(
        self, model: "BaseChatModel", prompt: list["BaseMessage"], patience: Patience
    ) -> AsyncGenerator["ChatGenerationChunk", None]:
        """The chunks as they come, none later than the provider's time limit, all within the whole answer's."""
        # What every provider's class implements. `astream` around it calls back, traces and merges, all for nobody, and
        # takes a third of the call's processor time.
        source: AsyncIterator[ChatGenerationChunk] = model._astream(prompt)
        try:
            while True:
                try:
                    chunk = await self._caller.within(anext(source), patience)
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            await source.aclose()  # type: ignore[attr-defined]  # a generator, typed as less


class _Answer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self._length = 0
        self._end = ""
        self._tokens: tuple[int, int] | None = None

    def take(self, chunk: "ChatGenerationChunk") -> str:
        text = str(chunk.message.text)
        self._length += len(text)
        said = {**(chunk.generation_info or {}), **chunk.message.response_metadata}
        self._end = str(said.get("finish_reason") or "") or self._end
        if usage := getattr(chunk.message, "usage_metadata", None):
            before = self._tokens or (0, 0)
            self._tokens = (before[0] + usage["input_tokens"], before[1] + usage["output_tokens"])
        return text

    def check(self) -> None:
        """Raises unless the answer has a text and an end."""
        if self._end.lower() in DECLINED:
            raise Permanent(REFUSED, "The model's provider declines to answer this.")
        if not self._end:
            raise bad_answer("it breaks off")
        if not self._length:
            raise bad_answer("it is empty")

    @property
    def usage(self) -> Usage | None:
        return Usage(*self._tokens) if self._tokens else None


def _translate(messages: Sequence[Message]) -> list["BaseMessage"]:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [kinds[message.role](content=message.content) for message in messages]

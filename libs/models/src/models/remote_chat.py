"""Answers by a provider."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from chassis.failures import Permanent, Transient
from chassis.metrics import PROVIDER_TOKENS
from chassis.storable import storable

from models.calling import Caller, Patience, pause_before_retry
from models.calls import ChatCalls, Piece
from models.chat import Delta, Message, Usage
from models.failures import REFUSED, UNAVAILABLE, bad_answer
from models.opening import OnFirstUse
from models.providers import PROVIDERS
from models.settings import ModelSettings

DECLINED = {"content_filter", "safety", "prohibited_content", "blocklist", "recitation", "spii"}
"""Reasons to end an answer that are the provider's judgement of what was asked."""


class RemoteChat:
    """Streams from a provider; an answer that breaks off is an error, not a shorter answer.

    One that ends because it is as long as the model's answers may be has come to its end.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self.name = settings.chat_model
        self._retries = settings.provider_retries
        self._time_limit = settings.chat_time_limit
        self._provider, _, model = self.name.partition(":")
        provider = PROVIDERS[self._provider]
        self._calls: OnFirstUse[ChatCalls] = OnFirstUse(lambda: provider.open_chat(settings, model))
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
        calls = await self._calls.get()
        patience = Patience.of(self._time_limit)
        for tries in range(self._retries + 1):
            begun = False
            try:
                async with aclosing(self._answer(calls, messages, patience)) as answer:
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
        await self._calls.load()

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._calls.close()

    async def _answer(
        self, calls: ChatCalls, messages: Sequence[Message], patience: Patience
    ) -> AsyncGenerator[Delta | Usage, None]:
        answer = _Answer()
        async with self._caller.place(patience), aclosing(self._pieces(calls, messages, patience)) as pieces:
            async for piece in pieces:
                answer.take(piece)
                if piece.text:
                    yield Delta(storable(piece.text))
            answer.check()
        if usage := answer.usage:
            PROVIDER_TOKENS.labels(self._provider, "chat", "input").inc(usage.input_tokens)
            PROVIDER_TOKENS.labels(self._provider, "chat", "output").inc(usage.output_tokens)
            yield usage

    async def _pieces(
        self, calls: ChatCalls, messages: Sequence[Message], patience: Patience
    ) -> AsyncGenerator[Piece, None]:
        """The pieces as they come, none later than the provider's time limit, all within the whole answer's."""
        async with aclosing(calls.stream(messages)) as source:
            while True:
                try:
                    piece = await self._caller.within(anext(source), patience)
                except StopAsyncIteration:
                    return
                yield piece


class _Answer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self._length = 0
        self._end = ""
        self.usage: Usage | None = None

    def take(self, piece: Piece) -> None:
        self._length += len(piece.text)
        if self._end.lower() not in DECLINED:
            self._end = piece.end or self._end
        self.usage = piece.usage or self.usage

    def check(self) -> None:
        """Raises unless the answer has a text and an end."""
        if self._end.lower() in DECLINED:
            raise Permanent(REFUSED, "The model's provider declines to answer this.")
        if not self._end:
            raise bad_answer("it breaks off")
        if not self._length:
            raise bad_answer("it is empty")

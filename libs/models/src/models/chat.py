"""The factory of chat models, and how one is spoken to."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from models.embeddings import Embeddings
from models.settings import ModelSettings


@dataclass(frozen=True)
class Message:
    """One turn of the conversation; its content is never a template."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Delta:
    """The next piece of an answer."""

    text: str


@dataclass(frozen=True)
class Usage:
    """What the call cost, as the provider counts; at most once, at the end."""

    input_tokens: int
    output_tokens: int


class ChatModel(Protocol):
    """Answers, piece by piece. Trouble is raised as one of chassis' failures, with a code of `models.failures`."""

    @property
    def name(self) -> str: ...

    async def load(self) -> None:
        """Have at hand what the first call would have to wait for. Raises nothing; that call tells what is wrong."""
        ...

    def stream(
        self, messages: Sequence[Message], *, question: str, passages: Sequence[str]
    ) -> AsyncGenerator[Delta | Usage, None]:
        """The answer to `messages`, the last of which holds the question and the passages.

        `question` and `passages` are the same again, apart: passage n is cited as `[n]`, counted from 1.
        Close the generator (`contextlib.aclosing`) to stop the call. Before its first piece a call is tried again
        after trouble that may pass; an answer that has begun never is.
        """
        ...

    async def close(self) -> None: ...


def open_chat(settings: ModelSettings, embeddings: Embeddings | None = None) -> ChatModel:
    """The chat model that the settings name. A remote one is contacted with the first call, not before.

    The extractive model weighs sentences by meaning if it is given local `embeddings`, otherwise by words alone.
    """
    if settings.chat_model == "extractive":
        from models.extractive import Extractive

        local = embeddings if embeddings is not None and embeddings.name == "local" else None
        return Extractive(local)
    from models.remote_chat import RemoteChat

    return RemoteChat(settings)

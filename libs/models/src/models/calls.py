"""What stands between us and a provider's library: one call at a time, neither bounded nor tried again.

Whatever the library raises comes through; the provider's `failure` knows what it means.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.chat import Message, Usage

Vector = NDArray[np.float32] | Sequence[float]
"""Of one text, as the provider sent it: `models.answers` looks whether it is one."""


@dataclass(frozen=True)
class Piece:
    """The next that a provider says."""

    text: str = ""
    end: str = ""
    """Why the answer ends here, in the provider's words; empty if it does not."""
    usage: Usage | None = None
    """What the answer has cost so far, where the provider says it."""


class EmbeddingCalls(Protocol):
    """One embedding model of a provider's."""

    async def embed_texts(self, texts: Sequence[str]) -> Sequence[Vector]: ...

    async def embed_question(self, question: str) -> Vector: ...

    async def close(self) -> None:
        """Close the connections that are kept."""
        ...


class ChatCalls(Protocol):
    """One chat model of a provider's."""

    def stream(self, messages: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        """One answer. Closing the generator ends the call."""
        ...

    async def close(self) -> None:
        """Close the connections that are kept."""
        ...

"""An answer that is sent as it comes, and whose source is closed when the sending ends."""

from collections.abc import AsyncGenerator

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Send


class Streamed(StreamingResponse):
    """Closes a generator however the sending ends. Without that, one whose reader has left is held, with its open file
    or connection, until Python looks for cycles.
    """

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                with anyio.CancelScope(shield=True):  # where the reader has left, Starlette cancels what is sent
                    await self.body_iterator.aclose()

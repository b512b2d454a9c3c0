"""Answers that are sent as they come, and the events that some of them are made of."""

from collections.abc import AsyncGenerator

import anyio
from contracts.problems import Problem
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Send

EVENT_STREAM = "text/event-stream"


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


def event(name: str, data: BaseModel, event_id: str | None = None) -> bytes:
    """One server-sent event. JSON has no line breaks of its own; a problem has no null fields, here as everywhere."""
    head = f"id: {event_id}\n" if event_id else ""
    told = data.model_dump_json(exclude_none=isinstance(data, Problem))
    return f"{head}event: {name}\ndata: {told}\n\n".encode()

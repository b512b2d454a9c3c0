"""What a streamed answer draws from is closed as soon as the answer ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from chassis.streaming import Streamed
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope


class Source:
    """A body that never ends, and notes its own end, which takes a moment."""

    closed = False

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"piece"
        finally:
            await asyncio.sleep(0)
            self.closed = True


def scope_of(spec_version: str) -> Scope:
    return {"type": "http", "method": "GET", "asgi": {"version": "3.0", "spec_version": spec_version}}


async def silence() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_line_that_breaks_closes_it() -> None:
    source = Source()

    async def broken(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError

    with pytest.raises(ClientDisconnect):
        await Streamed(source.pieces())(scope_of("2.4"), silence, broken)
    assert source.closed


async def test_a_reader_that_leaves_while_it_is_being_sent_to_closes_it() -> None:
    source, sending = Source(), asyncio.Event()

    async def slow(message: Message) -> None:
        if message["type"] == "http.response.body":
            sending.set()
            await asyncio.Event().wait()

    async def leaving() -> Message:
        await sending.wait()
        return {"type": "http.disconnect"}

    await Streamed(source.pieces())(scope_of("2.3"), leaving, slow)
    assert source.closed

"""HTTP/1.1 within bounds: heads end in time, an Upgrade is passed over, and whoever has to leave is told so."""

import asyncio
from collections.abc import Sized
from http import HTTPStatus
from typing import cast

import httptools
from contracts.problems import CONTENT_TYPE
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chassis.ids import uuid7
from chassis.observing import REQUEST_ID, headers_too_large
from chassis.problems import ProblemError

LINGER = 1.0
"""Seconds that an open connection has left after SIGTERM to bring one more request: it may be on its way already."""

HEAD_BYTES = 256 * 1024
"""How much may come in a row that is neither a body nor a whole head: four times what a request's headers may have."""

HEAD_SECONDS = 15.0
"""How long a head may take, from the start of the connection or its own first byte."""


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 whose answer to what is no HTTP is a problem, too, and whose end cuts nobody off."""

    _unfinished = 0
    """Bytes since the last head or piece of a body: of a head, of what stands between chunks, of trailers."""

    _head_deadline: asyncio.TimerHandle | None = None

    _has_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._stopping: asyncio.Event = cast(FastAPI, self.config.app).state.stopping
        self._await_head()
        if self._stopping.is_set():
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting_head()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The next answer is the last, and says so; without a request in time there is none."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False
        self.loop.call_later(LINGER, super().shutdown)

    def data_received(self, data: bytes) -> None:
        if self._has_refused:
            return
        self._unfinished += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(ProblemError(400, "request.malformed", "Malformed request", "Invalid HTTP request received."))
            return
        if self._unfinished > HEAD_BYTES:
            self._refuse(headers_too_large())
        elif self._in_head and self._head_deadline is None:
            self._unset_keepalive_if_required()
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the head alone: what stands behind a body in chunks nobody before us has looked at (RFC 9110, 6.5)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise httptools.HttpParserError("RFC 9112, 3.2: one Host")
        super().on_headers_complete()
        if self._in_head:
            return  # it asks for an upgrade, and is read again
        self._unfinished = 0
        self._stop_awaiting_head()
        self._unset_keepalive_if_required()
        if self._stopping.is_set():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    @property
    def _in_head(self) -> bool:
        """Whether a head has begun, or none has come yet: each head has a scope of its own, and whole ones a cycle."""
        return self.cycle is None or self.cycle.scope is not self.scope

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_awaiting_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_is_late(self) -> None:
        """While a request before it is answered the head has time: perhaps it is we who do not read on."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self._await_head()

    def _feed(self, data: bytes | memoryview) -> None:
        """The parser stops behind a head with an Upgrade: such a head is given to it again, without."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._should_upgrade():
                    self.cycle.keep_alive = False  # what follows a CONNECT is for a tunnel that there is not
                    return
                data = memoryview(data)[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)  # the old one has seen its last if the head says close
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(self._head_without_upgrade())
            else:
                return

    def _should_upgrade(self) -> bool:
        """Keeps uvicorn from answering what is to be read again."""
        return bool(self.scope["method"] != "CONNECT")

    def _head_without_upgrade(self) -> bytes:
        """RFC 9110, 7.8: whoever does not know the protocol answers as if it had not been asked for."""
        method, version = self.scope["method"].encode(), self.scope["http_version"].encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        if cycle.scope["http_version"] != "1.1":
            app = _ending_with_the_connection(app, cycle)
        elif cycle.waiting_for_100_continue:
            app = _closing_unless_asked(app, cycle)
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]  # Starlette's word for the same

    def _refuse(self, problem: ProblemError) -> None:
        """Answer and close. Whole requests before it are answered first; an answer that has begun is broken off."""
        self.logger.warning(problem.detail)
        self._has_refused = True
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        if last is not None and not last.more_body and not last.response_complete:
            last.keep_alive = False
            return
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
        if not self._may_answer:
            self.transport.close()
            return
        self.transport.write(_answer(problem))
        self.transport.write_eof()
        # Whoever is still sending would see a reset, not the answer.
        self.flow.resume_reading()
        self.loop.call_later(LINGER, self.transport.close)

    @property
    def _may_answer(self) -> bool:
        """Whether the next answer that the client expects is that to what is refused."""
        if self.pipeline:
            return False
        return self.cycle is None or not self.cycle.response_started or not self.cycle.more_body


class _Flow(FlowControl):
    """Reads nothing more while whole requests wait for their turn: uvicorn would let in more with every answer."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


def _answer(problem: ProblemError) -> bytes:
    """What is said to whoever did not get as far as the app."""
    request_id = uuid7().hex
    body = problem.problem(request_id).model_dump_json(exclude_none=True).encode()
    head = (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\ncontent-type: {CONTENT_TYPE}\r\n"
        f"content-length: {len(body)}\r\n{REQUEST_ID.lower()}: {request_id}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def _ending_with_the_connection(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """HTTP/1.0 knows neither chunks nor 100: a body without a length lasts until the connection ends."""
    cycle.keep_alive = False
    cycle.waiting_for_100_continue = False

    async def ending(scope: Scope, receive: Receive, send: Send) -> None:
        has_length = True

        async def send_unchunked(message: Message) -> None:
            nonlocal has_length
            if message["type"] == "http.response.start":
                has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = None if has_length else False
            elif not has_length:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_unchunked)

    return ending


def _closing_unless_asked(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """Where a client waits to be asked for its body and is not, nobody can tell what it sends next from that body."""

    async def closing(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_the_last(message: Message) -> None:
            if cycle.waiting_for_100_continue and cycle.more_body:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, send_the_last)

    return closing

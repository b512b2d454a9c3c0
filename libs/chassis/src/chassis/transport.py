"""HTTP/1.1 for httpx, for whoever asks often: a quarter of the processor time of its own transport.

Connections are kept; one exchange at a time on each. What arrives is parsed by httptools, as in the servers, and given
on in the pieces in which it came.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

import httpx
from httptools import HttpParserError, HttpResponseParser

from chassis import telemetry

UNREAD_BYTES = 256 * 1024
"""Of an answer that nobody reads, so much is taken from the network."""

Origin = tuple[str, str, int]


class Transport(httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient(transport=…)`. It knows no proxies, no HTTP/2, and no trailers."""

    def __init__(
        self,
        *,
        most: int = 1000,
        kept: int = 100,
        kept_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """At `most` so many connections at a time; `kept` of each origin for their next use, within `kept_seconds`."""
        self._places = asyncio.Semaphore(most)
        self._kept = kept
        self._kept_seconds = kept_seconds
        self._tls = tls
        self._idle: dict[Origin, deque[_Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        limits: dict[str, float | None] = request.extensions.get("timeout", {})
        origin = (
            request.url.scheme,
            request.url.host,
            request.url.port or (443 if request.url.scheme == "https" else 80),
        )
        await self._place(limits.get("pool"))
        connection: _Connection | None = None
        try:
            with telemetry.span(f"{request.method} {origin[1]}:{origin[2]}"):
                connection = self._idle_one(origin) or await self._connect(origin, limits.get("connect"))
                await connection.send(request, limits.get("write"))
                await connection.head(limits.get("read"))
        except BaseException:
            self._places.release()
            if connection is not None:
                connection.abort()
            raise
        return httpx.Response(
            connection.status,
            headers=connection.headers,
            stream=_Body(self, origin, connection, limits.get("read")),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    def give_back(self, origin: Origin, connection: "_Connection") -> None:
        """An exchange is over, or nobody wants the rest of it."""
        self._places.release()
        if not connection.is_reusable:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        idle = self._idle.setdefault(origin, deque())
        idle.append(connection)
        if len(idle) > self._kept:
            idle.popleft().abort()

    async def _place(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("all connections are in use") from None

    def _idle_one(self, origin: Origin) -> "_Connection | None":
        """The one used last: what a burst needed grows old, and is closed."""
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - self._kept_seconds
        while idle:
            connection = idle.pop()
            if connection.is_reusable and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, seconds: float | None) -> "_Connection":
        scheme, host, port = origin
        if scheme == "https" and self._tls is None:
            self._tls = httpx.create_ssl_context()
        tls = self._tls if scheme == "https" else None
        try:
            async with asyncio.timeout(seconds):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, host, port, ssl=tls)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection to {host}:{port}") from None
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        return connection


class _Body(httpx.AsyncByteStream):
    """What follows an answer's head."""

    def __init__(self, transport: Transport, origin: Origin, connection: "_Connection", limit: float | None) -> None:
        self._transport = transport
        self._origin = origin
        self._connection: _Connection | None = connection
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._connection is not None and (piece := await self._connection.piece(self._limit)):
            yield piece

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport.give_back(self._origin, connection)


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is coming in on it."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._transport: asyncio.Transport
        self._parser: HttpResponseParser | None = None
        self._has_body = True
        self._head_came = False
        self._complete = True
        self._stays = True
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._trouble: httpx.TransportError | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be sent: nothing of the last answer is left."""
        return self._complete and self._stays and not self._pieces and not self._transport.is_closing()

    async def send(self, request: httpx.Request, limit: float | None) -> None:
        """Send all of it; each piece of the body within the limit."""
        self._parser = HttpResponseParser(self)
        self._has_body = request.method != "HEAD"
        self._head_came = self._complete = False
        self.headers = []
        chunked = "transfer-encoding" in request.headers
        unsent = _head_of(request)
        async for piece in cast("httpx.AsyncByteStream", request.stream):
            self._transport.write(unsent + (b"%x\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece))
            unsent = b""
            if not self._writable.is_set():
                await self._until_writable(limit)
        if chunked or unsent:
            self._transport.write(unsent + (b"0\r\n\r\n" if chunked else b""))

    async def head(self, limit: float | None) -> None:
        """Until status and headers are known."""
        while not self._head_came:
            if self._trouble is not None:
                raise self._trouble
            await self._until_arrival(limit)

    async def piece(self, limit: float | None) -> bytes:
        """What has come since; waits if nothing has. Empty at the end."""
        while not self._pieces:
            if self._complete:
                return b""
            if self._trouble is not None:
                raise self._trouble
            await self._until_arrival(limit)
        piece = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._unread > UNREAD_BYTES:
            self._transport.resume_reading()
        self._unread = 0
        return piece

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._complete:
            self._fail(httpx.RemoteProtocolError("an answer to nothing"))
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(f"no HTTP: {error}"))
        self._arrived()

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        if self._complete:
            return
        if not self._head_came:
            self._trouble = httpx.RemoteProtocolError("the server hung up without an answer")
        elif error is not None:
            self._trouble = httpx.ReadError(str(error))
        elif self._ends_with_the_connection:
            self._complete = True
        else:
            self._trouble = httpx.RemoteProtocolError("the server hung up in the middle of its answer")
        self._arrived()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("one answer too many")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()  # an interim answer: the real one follows
            return
        self._head_came = True
        self._complete = not self._has_body
        self._stays = self._has_body and self._parser.should_keep_alive()  # the parser waits for HEAD's body, too

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._unread += len(data)
        if self._unread > UNREAD_BYTES:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._complete = self._head_came

    @property
    def _ends_with_the_connection(self) -> bool:
        return not any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in self.headers)

    def _fail(self, trouble: httpx.TransportError) -> None:
        self._trouble = trouble
        self._transport.abort()

    def _arrived(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def _until_arrival(self, limit: float | None) -> None:
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit):
                await self._arrival
        except TimeoutError:
            raise httpx.ReadTimeout("nothing came") from None

    async def _until_writable(self, limit: float | None) -> None:
        try:
            async with asyncio.timeout(limit):
                await self._writable.wait()
        except TimeoutError:
            raise httpx.WriteTimeout("nothing is taken") from None


def _head_of(request: httpx.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n"

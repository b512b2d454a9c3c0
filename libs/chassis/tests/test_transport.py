"""Httpx over a transport of our own: whatever a server does, it is an answer or one of httpx's errors."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import httpx
import pytest
from chassis import transport
from chassis.transport import Transport

Exchange: TypeAlias = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""What the server does with a request that it has read whole."""

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
IDLE = 5.0


class Server:
    """Counts its connections, and lets the test say what each request is answered with."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []
        self.requests: list[bytes] = []
        self.url = ""
        self.exchange: Exchange = saying(HELLO)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        while request := await whole_request(reader):
            self.requests.append(request)
            await self.exchange(request, writer)
        writer.close()


async def whole_request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if b"transfer-encoding" in fields:
            return head + await reader.readuntil(b"0\r\n\r\n")
        return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def saying(*pieces: bytes, then_close: bool = False) -> Exchange:
    async def say(_: bytes, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        if then_close:
            writer.close()

    return say


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    listening.close()
    for connection in made.connections:
        connection.close()


@asynccontextmanager
async def client(*, seconds: float = IDLE, **options: float) -> AsyncIterator[httpx.AsyncClient]:
    over = Transport(**options)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=over, timeout=seconds) as http:
        yield http


async def test_requests_are_sent_whole_and_answers_read_whole(server: Server) -> None:
    async with client() as http:
        answer = await http.post(f"{server.url}/say?what=hello", json={"to": "you"}, headers={"X-Name": "Ada"})

    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "hello", "text/plain")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /say?what=hello HTTP/1.1\r\n")
    assert b"\r\nX-Name: Ada\r\n" in head
    assert body == b'{"to":"you"}'


async def test_one_connection_serves_many_requests(server: Server) -> None:
    async with client() as http:
        for _ in range(5):
            assert (await http.get(server.url)).text == "hello"
        assert len(server.connections) == 1
        await asyncio.gather(*(http.get(server.url) for _ in range(3)))
    assert len(server.connections) == 3


async def test_a_connection_that_the_server_has_closed_is_not_used_again(server: Server) -> None:
    server.exchange = saying(HELLO, then_close=True)
    async with client() as http:
        for _ in range(3):
            assert (await http.get(server.url)).text == "hello"
            await asyncio.sleep(0.02)
    assert len(server.connections) == 3


@pytest.mark.parametrize("options", [{"kept": 0}, {"kept_seconds": -1}])
async def test_connections_beyond_what_is_kept_are_closed(server: Server, options: dict[str, float]) -> None:
    async with client(**options) as http:
        for _ in range(3):
            await http.get(server.url)
    assert len(server.connections) == 3


async def test_a_server_that_says_close_is_believed(server: Server) -> None:
    server.exchange = saying(HELLO.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    async with client() as http:
        for _ in range(2):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.connections) == 2


async def test_bodies_come_in_pieces_as_they_are_sent(server: Server) -> None:
    sent, read = asyncio.Event(), asyncio.Event()

    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await read.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        sent.set()

    server.exchange = talk
    async with client() as http, http.stream("GET", server.url) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"one"
        assert not sent.is_set()
        read.set()
        assert [piece async for piece in pieces] == [b"two"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + HELLO, id="interim answers"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", id="chunks"),
    ],
)
async def test_every_framing_is_understood(server: Server, body: bytes) -> None:
    server.exchange = saying(*(body[at : at + 7] for at in range(0, len(body), 7)))
    async with client() as http:
        answer = await http.get(server.url)
        assert (answer.status_code, answer.text, "link" in answer.headers) == (200, "hello", False)
        await http.get(server.url)
    assert len(server.connections) == 1


async def test_a_body_of_unknown_length_ends_with_the_connection(server: Server) -> None:
    server.exchange = saying(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", then_close=True)
    async with client() as http:
        assert (await http.get(server.url)).text == "hello"


async def test_answers_without_a_body_have_none(server: Server) -> None:
    async with client() as http:
        server.exchange = saying(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await http.delete(server.url)).content == b""
        server.exchange = saying(HELLO.removesuffix(b"hello"))
        answer = await http.head(server.url)
        assert (answer.content, answer.headers["content-length"]) == (b"", "5")
        server.exchange = saying(HELLO)
        assert (await http.get(server.url)).text == "hello"


async def test_a_stream_is_sent_in_chunks(server: Server) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b""
        yield b"two"

    async with client() as http:
        assert (await http.post(server.url, content=pieces())).text == "hello"
    assert server.requests[0].endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param([], httpx.RemoteProtocolError, id="nothing"),
        pytest.param([b"HTTP/1.1 200"], httpx.RemoteProtocolError, id="half a head"),
        pytest.param([HELLO[:-2]], httpx.RemoteProtocolError, id="half a body"),
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], httpx.RemoteProtocolError, id="another protocol"),
    ],
)
async def test_what_is_no_whole_answer_is_an_error(
    server: Server, said: list[bytes], expected: type[httpx.HTTPError]
) -> None:
    server.exchange = saying(*said, then_close=True)
    async with client() as http:
        with pytest.raises(expected):
            await http.get(server.url)
        server.exchange = saying(HELLO)
        assert (await http.get(server.url)).text == "hello"


async def test_what_was_not_asked_for_is_not_taken_for_the_next_answer(server: Server) -> None:
    async with client() as http:
        server.exchange = saying(HELLO + HELLO.replace(b"hello", b"other"))
        assert (await http.get(server.url)).text == "hello"
        server.exchange = saying(HELLO, HELLO.replace(b"hello", b"other"))
        assert (await http.get(server.url)).text == "hello"
        await asyncio.sleep(0.05)
        server.exchange = saying(HELLO)
        assert (await http.get(server.url)).text == "hello"
    assert len(server.connections) == 3


async def test_nobody_waits_longer_than_the_limit(server: Server) -> None:
    server.exchange = saying(HELLO[:-2])
    async with client(seconds=0.1) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.get(server.url)
        server.exchange = saying()
        with pytest.raises(httpx.ReadTimeout):
            await http.get(server.url)
        server.exchange = saying(HELLO)
        assert (await http.get(server.url)).text == "hello"


async def test_a_server_that_takes_nothing_is_given_up() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1024 * 1024)

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with client(seconds=0.2) as http:
            with pytest.raises(httpx.WriteTimeout):
                await http.post(f"http://127.0.0.1:{deaf.getsockname()[1]}", content=endless())


async def test_nobody_there_is_an_error_of_the_connection(server: Server) -> None:
    async with client() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("http://127.0.0.1:9")


async def test_no_more_connections_are_used_than_allowed(server: Server) -> None:
    async with client(seconds=0.1, most=1) as http:
        async with http.stream("GET", server.url):
            with pytest.raises(httpx.PoolTimeout):
                await http.get(server.url)
        assert (await http.get(server.url)).text == "hello"


async def test_an_answer_that_is_left_costs_its_connection_and_no_more(server: Server) -> None:
    server.exchange = saying(HELLO[:-2])
    async with client(most=1) as http:
        for _ in range(3):
            async with http.stream("GET", server.url) as answer:
                assert answer.status_code == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await http.get(server.url)
        server.exchange = saying(HELLO)
        assert (await http.get(server.url)).text == "hello"


async def test_what_nobody_reads_is_left_in_the_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "UNREAD_BYTES", 64 * 1024)
    size = 64 * 1024 * 1024
    taken = asyncio.Event()

    async def pour(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _piece in range(size // (1024 * 1024)):
            writer.write(bytes(1024 * 1024))
            await writer.drain()
        taken.set()

    server.exchange = pour
    async with client() as http, http.stream("GET", server.url) as answer:
        await asyncio.sleep(0.3)
        assert not taken.is_set()
        assert sum([len(piece) async for piece in answer.aiter_raw()]) == size

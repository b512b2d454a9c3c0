"""What may come over a connection: real sockets, byte by byte where it matters."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from chassis.http_protocol import HEAD_BYTES

from libs.chassis.tests.processes import Process, raw

HEAD_SECONDS = 0.5
"""Of the process `hasty`."""

APP = """
import asyncio, sys
from typing import ClassVar
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from chassis import http_protocol, logs
from chassis.problems import ProblemError
from chassis.settings import ServiceSettings
from chassis.serving import serve
from chassis.web import create_app

class Settings(ServiceSettings):
    service: ClassVar[str] = "some"

settings = Settings(port=int(sys.argv[1]), database_url="postgresql+asyncpg://a:b@/c", kafka="k:1", auth_url="http://a:1")
logs.configure("some", "info")
app = create_app(settings, unbounded=[("POST", "/echo"), ("POST", "/refused"), ("POST", "/ignored")])

@app.post("/echo")
async def echo(request: Request):
    size, first = 0, b""
    async for part in request.stream():
        size, first = size + len(part), first or part[:20]
    return {"size": size, "first": first.decode(), "headers": sorted(request.headers)}

@app.post("/refused")
async def refused():
    raise ProblemError(415, "upload.type", "No", "Not such a file.")

@app.post("/ignored")
async def ignored():
    return "done"

@app.get("/slow")
async def slow():
    await asyncio.sleep(1)
    return "done"

@app.post("/begun")
async def begun():
    async def stream():
        yield b"begun"
        await asyncio.Event().wait()
    return StreamingResponse(stream())

@app.api_route("/stream", methods=["GET", "HEAD", "POST"])
async def stream():
    async def words():
        yield b"one "
        await asyncio.sleep(0)
        yield b"two"
    return StreamingResponse(words())

if len(sys.argv) > 2:
    http_protocol.HEAD_SECONDS = float(sys.argv[2])
serve(app, settings)
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(tmp_path_factory.mktemp("service"), APP).running() as process:
        yield process


@pytest.fixture(scope="module")
def started_hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(tmp_path_factory.mktemp("hasty"), APP, str(HEAD_SECONDS)).running() as process:
        yield process


@pytest.fixture
async def service(started: Process) -> Process:
    return await started.ready()


@pytest.fixture
async def hasty(started_hasty: Process) -> Process:
    """A service that gives heads half a second."""
    return await started_hasty.ready()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


@dataclass(frozen=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, body: bool = True) -> Answer:
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            size = int(headers.get("content-length", 0)) if body else 0
            return Answer(int(first.split()[1]), headers, await self.reader.readexactly(size))

    async def rest(self) -> bytes:
        """What comes until the other side closes."""
        return await asyncio.wait_for(self.reader.read(), 10)


@asynccontextmanager
async def connected(service: Process) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    yield Connection(reader, writer)
    writer.close()


def request(line: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"{line} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


CHUNKED = request("POST /echo", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"X",
        CHUNKED + b"5;",
        CHUNKED + b"5\r\nhello\r\n0\r\nX: ",
        CHUNKED + b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 1000 + b"X",
    ],
    ids=["path", "header", "headers", "chunk extension", "trailer", "trailers"],
)
async def test_what_has_no_end_is_refused(service: Process, beginning: bytes) -> None:
    async with connected(service) as connection:
        await connection.send(beginning)
        await connection.send(b"x" * 2 * HEAD_BYTES)
        answer = await connection.answer()

        assert (answer.status, answer.code) == (431, "request.headers_too_large")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == json.loads(answer.body)["request_id"]
        assert answer.headers["connection"] == "close"
        assert await connection.rest() == b""


async def test_an_answered_connection_is_watched_like_a_new_one(service: Process) -> None:
    async with connected(service) as connection:
        for _ in range(3):
            await connection.send(request("POST /echo", "Content-Length: 3") + b"abc")
            assert (await connection.answer()).status == 200
        await connection.send(b"GET /" + b"x" * HEAD_BYTES)

        assert (await connection.answer()).status == 431
        assert await connection.rest() == b""


async def test_an_answer_that_has_begun_is_not_followed_by_a_refusal_but_broken_off(service: Process) -> None:
    async with connected(service) as connection:
        await connection.send(request("POST /begun", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX: ")
        await connection.reader.readuntil(b"begun\r\n")
        await connection.send(b"x" * (HEAD_BYTES + 1))

        assert await connection.rest() == b""


@pytest.mark.parametrize(
    ("requests", "behind"),
    [
        (1, b"no HTTP\r\n\r\n"),
        (3, b"no HTTP\r\n\r\n"),
        (1, b"\x00\x00"),
        (1, b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * HEAD_BYTES),
    ],
    ids=["no HTTP", "no HTTP behind three", "zeros", "a head without an end"],
)
async def test_whole_requests_are_answered_whatever_comes_behind_them(
    service: Process, requests: int, behind: bytes
) -> None:
    async with connected(service) as connection:
        await connection.send(request("GET /slow") * requests + behind)
        answers = [await connection.answer() for _ in range(requests)]

        assert [answer.status for answer in answers] == [200] * requests
        assert answers[-1].headers["connection"] == "close"
        assert await connection.rest() == b""


@pytest.mark.parametrize("head", [b"GET /slow HTTP/1.1\r\n\r\n", request("GET /slow", "Host: y")], ids=["none", "two"])
async def test_whoever_does_not_name_one_host_is_refused(service: Process, head: bytes) -> None:
    async with connected(service) as connection:
        await connection.send(request("GET /slow") + head)
        answers = [await connection.answer()]
        await connection.rest()
    async with connected(service) as connection:
        await connection.send(head)
        answers.append(await connection.answer())

    assert [answer.status for answer in answers] == [200, 400]
    assert answers[-1].code == "request.malformed"


async def test_http_1_0_need_not_name_a_host(service: Process) -> None:
    async with connected(service) as connection:
        await connection.send(b"GET /slow HTTP/1.0\r\n\r\n")

        assert (await connection.answer()).status == 200


async def test_trailers_are_no_headers(service: Process) -> None:
    body = b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nX-Request-ID: trailing\r\n\r\n"
    async with connected(service) as connection:
        await connection.send(CHUNKED + body + CHUNKED + body)
        answers = [await connection.answer(), await connection.answer()]

    for answer in answers:
        assert json.loads(answer.body)["headers"] == ["host", "transfer-encoding"]
        assert answer.headers["x-request-id"] != "trailing"


async def test_what_is_no_http_does_not_get_into_an_answer_that_has_begun(service: Process) -> None:
    async with connected(service) as connection:
        await connection.send(request("POST /begun", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        await connection.reader.readuntil(b"begun\r\n")
        await connection.send(b"no number of bytes\r\n")

        assert await connection.rest() == b""


@pytest.mark.parametrize("size", [1, 7, 1000, 65_536, 5 * 1024 * 1024])
async def test_a_large_body_in_chunks_of_any_size_is_no_head(service: Process, size: int) -> None:
    whole = min(5 * 1024 * 1024, size * 100_000)
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    async with connected(service) as connection:
        await connection.send(CHUNKED + chunk * (whole // size) + b"0\r\nX-Trailer: a\r\n\r\n")
        answer = await connection.answer()

        assert json.loads(answer.body)["size"] == whole // size * size
        await connection.send(request("GET /health/live"))
        assert (await connection.answer()).status == 200


async def test_a_large_body_with_a_length_is_no_head(service: Process) -> None:
    size = 5 * 1024 * 1024
    async with connected(service) as connection:
        await connection.send(request("POST /echo", f"Content-Length: {size}") + b"x" * size)

        assert json.loads((await connection.answer()).body)["size"] == size


async def test_a_large_body_of_a_request_that_is_answered_already_is_no_head(service: Process) -> None:
    size = 5 * 1024 * 1024
    async with connected(service) as connection:
        await connection.send(request("POST /ignored", f"Content-Length: {size}"))
        assert (await connection.answer()).status == 200
        await connection.send(b"x" * size + request("GET /health/live"))

        assert (await connection.answer()).status == 200


@pytest.mark.parametrize("header", ["X: y", f"X: {'y' * 20_000}"], ids=["small", "large"])
async def test_pipelined_requests_are_answered_in_their_order(service: Process, header: str) -> None:
    bodies = [f"{number}".encode() for number in range(20)]
    async with connected(service) as connection:
        await connection.send(
            b"".join(request("POST /echo", header, f"Content-Length: {len(body)}") + body for body in bodies)
        )
        answers = [await connection.answer() for _ in bodies]

        assert [json.loads(answer.body)["first"].encode() for answer in answers] == bodies


def upgrading(protocol: str, body: bytes, *, chunked: bool) -> bytes:
    """As curl and Java ask for HTTP/2, and browsers for a WebSocket."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    asked = ["Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABkAAQ"]
    sent = b"2\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:2], len(body) - 2, body[2:]) if chunked else body
    return request("POST /echo", *asked, framing) + sent


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_upgrade_is_passed_over_and_the_body_kept_wherever_the_bytes_are_cut(
    service: Process, protocol: str, *, chunked: bool
) -> None:
    sent = upgrading(protocol, b"hello, world", chunked=chunked)
    async with connected(service) as connection, connected(service) as other:
        for cut in range(1, len(sent)):
            await connection.send(sent[:cut])
            await other.send(request("GET /health/live"))
            await other.answer()  # the service has seen what came before
            await connection.send(sent[cut:])
            answer = await connection.answer()

            assert answer.status == 200, cut
            assert json.loads(answer.body)["size"] == len("hello, world"), cut
            assert "upgrade" not in answer.headers
    assert "WebSocket" not in service.log.read_text()
    assert "upgrade" not in service.log.read_text()


async def test_an_upgrade_without_a_body_and_what_is_pipelined_behind_it_are_answered(service: Process) -> None:
    asking = request("GET /health/live", "Connection: upgrade", "Upgrade: websocket")
    async with connected(service) as connection:
        await connection.send((asking + upgrading("h2c", b"hello", chunked=True)) * 1500 + asking)
        for _ in range(1500):
            assert (await connection.answer()).status == 200
            assert json.loads((await connection.answer()).body)["size"] == len("hello")
        assert (await connection.answer()).status == 200


@pytest.mark.parametrize(("version", "connection"), [("1.1", "Upgrade, close"), ("1.0", "Upgrade, keep-alive")])
async def test_an_upgrade_changes_nothing_else_of_a_head(service: Process, version: str, connection: str) -> None:
    head = request(
        "POST /echo", f"Connection: {connection}", "Upgrade: h2c", "Content-Length: 3", "X-A: 1", version=version
    )
    answer = await raw(service, head + b"abc")  # until the connection ends

    assert b"\r\nconnection: close\r\n" in answer
    told = json.loads(answer.split(b"\r\n\r\n")[1])
    assert told == {"size": 3, "first": "abc", "headers": ["connection", "content-length", "host", "x-a"]}


async def test_a_tunnel_is_refused_and_nothing_for_its_other_end_is_read_as_a_request(service: Process) -> None:
    answer = await raw(service, request("CONNECT /") + request("GET /health/live"))

    assert answer.startswith(b"HTTP/1.1 404")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("beginning", [b"", b"\r\n", b"GET / HTTP/1.1\r\nX: "], ids=["silent", "empty", "half"])
async def test_a_connection_without_a_whole_head_is_closed_without_a_word(hasty: Process, beginning: bytes) -> None:
    logged = hasty.log.read_text()
    async with connected(hasty) as connection:
        await connection.send(beginning)

        assert await connection.rest() == b""
    assert hasty.log.read_text() == logged


async def test_a_head_that_drips_is_not_awaited(hasty: Process) -> None:
    async with connected(hasty) as connection:

        async def drip() -> None:
            while True:
                await connection.send(b"x")
                await asyncio.sleep(HEAD_SECONDS / 10)

        await connection.send(b"GET /")
        dripping = asyncio.create_task(drip())
        closed = await asyncio.wait_for(connection.reader.read(), 10)
        dripping.cancel()

        assert closed == b""


@pytest.mark.parametrize("together", [True, False])
async def test_the_next_head_has_its_time_from_its_first_byte(hasty: Process, *, together: bool) -> None:
    async with connected(hasty) as connection:
        first, half = request("GET /health/live"), b"GET /health/live HTTP"
        await connection.send(first + half if together else first)
        assert (await connection.answer()).status == 200
        if not together:
            await connection.send(half)

        assert await connection.rest() == b""


@pytest.mark.parametrize("between", [b"", b"\r\n"], ids=["nothing", "an empty line"])
async def test_an_idle_connection_stays_open(hasty: Process, between: bytes) -> None:
    async with connected(hasty) as connection:
        await connection.send(request("GET /health/live"))
        await connection.answer()
        await connection.send(between)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.reader.read(1), 3 * HEAD_SECONDS)
        await connection.send(request("GET /health/live"))

        assert (await connection.answer()).status == 200


async def test_half_a_head_does_not_cut_off_the_answer_before_it(hasty: Process) -> None:
    async with connected(hasty) as connection:
        await connection.send(request("GET /slow") + b"GET /")

        assert (await connection.answer()).body == b'"done"'
        assert await connection.rest() == b""


async def test_a_body_has_more_time_than_a_head(hasty: Process) -> None:
    async with connected(hasty) as connection:
        await connection.send(CHUNKED + b"5\r")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.reader.read(1), 3 * HEAD_SECONDS)
        await connection.send(b"\nhello\r\n0\r\n\r\n")

        assert (await connection.answer()).status == 200


EXPECTING = ["Expect: 100-continue", "Content-Length: 30000000"]


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [("/refused", "X: y", 415), ("/ignored", "X: y", 200), ("/refused", f"X: {'y' * 70_000}", 431)],
    ids=["refused", "ignored", "headers too large"],
)
async def test_a_body_that_was_never_asked_for_ends_the_connection(
    service: Process, path: str, header: str, status: int
) -> None:
    async with connected(service) as connection:
        await connection.send(request(f"POST {path}", *EXPECTING, header))
        answer = await asyncio.wait_for(connection.answer(), 2)

        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert await connection.rest() == b""


async def test_a_client_that_has_lost_patience_while_it_waited_to_be_asked_sees_the_answer(service: Process) -> None:
    async with connected(service) as connection:
        await connection.send(request("POST /refused", *EXPECTING))
        for _ in range(30):
            await connection.send(b"x" * 1_000_000)

        assert (await connection.answer()).status == 415
        assert await connection.rest() == b""


async def test_a_body_that_was_asked_for_leaves_the_connection_open(service: Process) -> None:
    async with connected(service) as connection:
        for _ in range(2):
            await connection.send(request("POST /echo", "Expect: 100-continue", "Content-Length: 5"))
            assert (await connection.answer()).status == 100
            await connection.send(b"hello")
            answer = await connection.answer()

            assert json.loads(answer.body)["first"] == "hello"
            assert "connection" not in answer.headers


async def test_a_body_that_came_without_being_asked_for_leaves_the_connection_open(service: Process) -> None:
    async with connected(service) as connection:
        await connection.send(request("POST /refused", "Expect: 100-continue", "Content-Length: 5") + b"hello")
        assert (await connection.answer()).status == 415
        await connection.send(request("GET /health/live"))

        assert (await connection.answer()).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_stream_to_http_1_0_ends_with_the_connection(service: Process, method: str) -> None:
    asked = request(f"{method} /stream", "Connection: keep-alive", "Content-Length: 0", version="1.0")
    head, _, body = (await raw(service, asked)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding" not in head
    assert b"\r\nconnection: close" in head
    assert body == (b"" if method == "HEAD" else b"one two")


async def test_an_answer_of_known_length_to_http_1_0_tells_it_and_asks_for_nothing(service: Process) -> None:
    asked = request("POST /echo", "Expect: 100-continue", "Content-Length: 5", version="1.0")
    head, _, body = (await raw(service, asked + b"hello")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["first"] == "hello"


async def test_requests_that_are_pipelined_without_an_end_wait_outside(service: Process) -> None:
    def mebibytes() -> int:
        fields = Path(f"/proc/{service.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024**2

    before = mebibytes()
    async with connected(service) as connection:

        async def read() -> None:
            while await connection.reader.read(65_536):
                pass

        reading = asyncio.create_task(read())
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                while True:
                    await connection.send(request("GET /health/live") * 1000)
        reading.cancel()

        assert mebibytes() - before < 150

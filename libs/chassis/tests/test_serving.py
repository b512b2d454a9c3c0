"""A process that serves: real sockets, real signals."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from libs.chassis.tests.processes import Process, raw

APP = """
import asyncio, sys
from contextlib import asynccontextmanager
from typing import ClassVar
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from chassis import logs
from chassis.settings import ServiceSettings
from chassis.serving import serve
from chassis.web import create_app

class Settings(ServiceSettings):
    service: ClassVar[str] = "some"

settings = Settings(port=int(sys.argv[1]), database_url="postgresql+asyncpg://a:b@/c", kafka="k:1", auth_url="http://a:1")
logs.configure("some", "info")

@asynccontextmanager
async def lifespan(app):
    if "cannot-start" in sys.argv:
        raise RuntimeError("the lease of the building is over")
    yield
    if "cannot-stop" in sys.argv:
        await asyncio.Event().wait()
    print("left in order", flush=True)

app = create_app(settings, lifespan=lifespan, unbounded=[("POST", "/upload")])

@app.get("/events")
async def events(request: Request):
    async def stream():
        yield b": hello\\n\\n"
        await request.app.state.stopping.wait()
        yield b"event: bye\\n\\n"
    return StreamingResponse(stream(), media_type="text/event-stream")

@app.get("/failing")
async def failing():
    from chassis.process import end_process
    end_process("a part of it has failed")
    end_process("another part of it has failed, for the same reason")

@app.get("/slow")
async def slow():
    await asyncio.sleep(0.5)
    return "done"

@app.get("/deaf")
async def deaf():
    async def stream():
        yield b"x"
        await asyncio.Event().wait()
    return StreamingResponse(stream())

@app.get("/broken-stream")
async def broken_stream():
    async def stream():
        yield b"one"
        raise RuntimeError("in the middle")
    return StreamingResponse(stream())

@app.post("/upload")
async def upload():
    from chassis.problems import ProblemError
    raise ProblemError(415, "upload.type", "No", "Not such a file.")

if "short-grace" in sys.argv:
    import chassis.serving
    chassis.serving.PROCESS_GRACE = 1.0
    chassis.serving.REQUESTS_GRACE = 0.3
serve(app, settings)
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
async def service(tmp_path: Path, processes: list[Process]) -> Process:
    """A service of this test's own, to be stopped."""
    processes.append(Process(tmp_path, APP))
    return await processes[0].ready()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(tmp_path_factory.mktemp("service"), APP).running() as process:
        yield process


@pytest.fixture
async def shared(started: Process) -> Process:
    """A service that goes on."""
    return await started.ready()


async def test_sigterm_ends_streams_lets_requests_finish_and_leaves_in_order(service: Process) -> None:
    async with httpx.AsyncClient(base_url=service.url) as client, client.stream("GET", "/events") as events:
        lines = events.aiter_lines()
        assert await anext(lines) == ": hello"
        slow = asyncio.create_task(client.get("/slow"))
        await asyncio.sleep(0.1)  # the request is under way
        began = time.monotonic()
        stopped = asyncio.create_task(asyncio.to_thread(service.stop))
        rest = [line async for line in lines]

        assert "event: bye" in rest
        assert (await slow).json() == "done"
        assert await stopped == 0
        assert time.monotonic() - began < 5
    assert "left in order" in service.log.read_text()


async def test_whoever_asks_while_it_leaves_is_answered_and_told_to_come_no_more(service: Process) -> None:
    async with httpx.AsyncClient(base_url=service.url) as client, httpx.AsyncClient(base_url=service.url) as idle:
        await idle.get("/health/live")
        answer = await client.get("/health/live")
        service.process.send_signal(signal.SIGTERM)
        while "connection" not in answer.headers:
            answer = await client.get("/health/live")
            assert answer.status_code == 200

        assert answer.headers["connection"] == "close"
        assert await asyncio.to_thread(service.process.wait, 5) == 0


def test_whoever_waits_at_the_door_when_it_is_told_to_leave_is_let_in_and_answered(service: Process) -> None:
    address = httpx.URL(service.url)
    service.process.send_signal(signal.SIGSTOP)
    waiting = [socket.create_connection((address.host, address.port or 80), timeout=10) for _ in range(20)]
    for one in waiting:
        one.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    service.process.send_signal(signal.SIGTERM)
    service.process.send_signal(signal.SIGCONT)

    answers = [one.makefile("rb").read() for one in waiting]
    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert service.process.wait(10) == 0
    for one in waiting:
        one.close()


async def test_a_service_a_part_of_which_has_failed_leaves_in_order_and_says_so(service: Process) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{service.url}/failing")).status_code == 200
    assert service.process.wait(timeout=30) == 70
    log = service.log.read_text()
    assert "a part of it has failed" in log
    assert "left in order" in log


async def test_a_service_that_has_failed_and_is_told_to_leave_as_well_leaves_in_order(service: Process) -> None:
    async with httpx.AsyncClient() as client:
        slow = asyncio.create_task(client.get(f"{service.url}/slow"))
        await asyncio.sleep(0.1)
        await client.get(f"{service.url}/failing")
        service.process.send_signal(signal.SIGTERM)
        assert (await slow).status_code == 200
    assert service.process.wait(timeout=30) == 70
    assert "left in order" in service.log.read_text()


async def test_a_stream_that_does_not_listen_does_not_keep_the_process(
    tmp_path: Path, processes: list[Process]
) -> None:
    processes.append(Process(tmp_path, APP, "short-grace"))
    service = await processes[0].ready()
    async with httpx.AsyncClient(base_url=service.url) as client, client.stream("GET", "/deaf") as answer:
        assert await anext(answer.aiter_bytes()) == b"x"

        assert await asyncio.to_thread(service.stop) == 0


async def test_a_service_that_cannot_leave_is_ended(tmp_path: Path, processes: list[Process]) -> None:
    processes.append(Process(tmp_path, APP, "short-grace", "cannot-stop"))
    service = await processes[0].ready()
    began = time.monotonic()

    assert await asyncio.to_thread(service.stop) == -signal.SIGALRM
    assert time.monotonic() - began < 5


async def test_a_service_that_cannot_start_says_why_and_ends(tmp_path: Path, processes: list[Process]) -> None:
    processes.append(Process(tmp_path, APP, "cannot-start"))

    assert await asyncio.to_thread(processes[0].process.wait, 20) == 3
    assert "the lease of the building is over" in processes[0].log.read_text()


async def test_a_port_in_use_is_told_and_ends(tmp_path: Path, processes: list[Process]) -> None:
    process = Process(tmp_path, APP)
    processes.append(process)
    await process.ready()
    command = [sys.executable, str(tmp_path / "app.py"), str(process.port)]
    second = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said, _ = await second.communicate()

    assert second.returncode == 3
    assert b"address already in use" in said


async def test_what_is_no_http_is_answered_with_a_problem(shared: Process) -> None:
    for rubbish in (
        b"hello\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ):
        answer = await raw(shared, rubbish)
        assert answer.startswith(b"HTTP/1.1 400"), rubbish
        assert b"content-type: application/problem+json" in answer
        assert b"x-request-id: " in answer
        assert b"request.malformed" in answer


async def test_long_headers_and_foreign_hosts_are_harmless(shared: Process) -> None:
    answer = await raw(
        shared,
        b"GET /health/live HTTP/1.1\r\nHost: evil.example\r\nX-Long: "
        + b"x" * 20_000
        + b"\r\nConnection: close\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_stream_that_breaks_is_broken_off(shared: Process) -> None:
    async with httpx.AsyncClient(base_url=shared.url) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/broken-stream")


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
async def test_a_refused_body_is_read_so_that_the_answer_is_seen(shared: Process, connection: bytes) -> None:
    size = 30_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    writer.write(
        b"POST /upload HTTP/1.1\r\nHost: x\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n" % (connection, size)
    )
    for _ in range(size // 1_000_000):
        writer.write(b"x" * 1_000_000)
        await writer.drain()
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.close()

    assert head.startswith(b"HTTP/1.1 415")


async def test_a_client_that_waits_for_leave_to_send_gets_the_answer_at_once(shared: Process) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 30000000\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
    await asyncio.wait_for(reader.readuntil(b"}"), 2)
    writer.close()

    assert head.startswith(b"HTTP/1.1 415")


async def test_a_body_that_stops_coming_is_not_awaited_for_longer_than_its_time(
    shared: Process,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    writer.write(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
    writer.close()

    assert head.startswith(b"HTTP/1.1 404")


async def test_an_idle_service_costs_next_to_nothing(shared: Process) -> None:
    def used() -> float:
        fields = Path(f"/proc/{shared.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    await asyncio.sleep(2)

    assert used() - before <= 0.04


async def test_the_log_is_json_and_repeats_no_query(service: Process) -> None:
    import json

    async with httpx.AsyncClient(base_url=service.url) as client:
        await client.get("/events-of-nobody?token=canary-token-1234")
        await client.get("/slow?token=canary-token-1234", headers={"Authorization": "Bearer canary-token-1234"})
    await asyncio.to_thread(service.stop)

    lines = [line for line in service.log.read_text().splitlines() if line != "left in order"]
    told = [json.loads(line) for line in lines]
    assert "canary" not in "".join(lines)
    request = next(line for line in told if line.get("route") == "/slow")
    assert request["service"] == "some"
    assert request["request_id"]
    assert request["status"] == 200

"""Traces: carried across processes, sent to a collector that is named, without anything private; else nothing."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from chassis import telemetry
from chassis.exporting import discreet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CANARY = "canary-zq81"

SCRIPT = """
import asyncio, json, sys
from typing import ClassVar

import httpx
from fastapi import APIRouter
from opentelemetry import trace
from sqlalchemy import text

from chassis import logs, telemetry
from chassis.database import create_engine
from chassis.settings import ServiceSettings
from chassis.web import create_app

class Settings(ServiceSettings):
    service: ClassVar[str] = "some"

endpoint, database_url = sys.argv[1:]
settings = Settings(port=1, kafka="k:1", auth_url="http://a:1", database_url=database_url, otlp_endpoint=endpoint)
telemetry.configure(settings)
engine = create_engine(settings)
router = APIRouter()
seen = {}

@router.get("/outer")
async def outer():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://some") as client:
        return (await client.get("/inner/1?key=canary-zq81")).json()

@router.get("/inner/{number}")
async def inner(number: int):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT :word"), {"word": "canary-zq81"})
    seen["traceparent"] = telemetry.traceparent()
    seen["trace_id"] = telemetry.trace_id()
    with telemetry.span("a piece of work", document_id="d1"):
        pass
    return number

@router.get("/links/{secret}")
async def link(secret: str):
    return "open"

@router.get("/crash")
async def crash():
    raise RuntimeError("canary-zq81")

app = create_app(settings, routers=[router])

async def main():
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://some") as client:
        await client.get("/outer?token=canary-zq81", headers={"traceparent": "%s"})
        await client.get("/links/canary-zq81")
        await client.post("/links/canary-zq81")
        await client.get("/nowhere/canary-zq81")
        await client.get("/crash")
        await client.get("/health/live")
    with telemetry.continue_trace("%s"):
        with telemetry.span("in another process"):
            seen["continued"] = telemetry.trace_id()
    try:
        with telemetry.span("a failing piece"):
            raise ValueError("canary-zq81")
    except ValueError:
        pass
    await engine.dispose()

asyncio.run(main())
trace.get_tracer_provider().shutdown()
print(json.dumps(seen))
""" % (PARENT, PARENT)  # noqa: UP031


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Address of an OTLP collector, and what it was sent."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            received.append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


async def test_one_request_is_one_trace_and_nothing_private_is_sent(
    collector: tuple[str, list[bytes]], database: Callable[[None], Awaitable[str]], tmp_path: Path
) -> None:
    endpoint, received = collector
    (tmp_path / "script.py").write_text(SCRIPT)
    ran = await asyncio.create_subprocess_exec(
        sys.executable, str(tmp_path / "script.py"), endpoint, await database(None), stdout=subprocess.PIPE
    )
    said, _ = await ran.communicate()
    assert ran.returncode == 0
    seen = json.loads(said.decode().splitlines()[-1])

    assert seen["trace_id"] == seen["continued"] == TRACE
    assert seen["traceparent"].startswith(f"00-{TRACE}-")
    assert received
    assert all(CANARY.encode() not in body for body in received)
    spans = [span for body in received for span in _spans(body)]
    names = {span.name for span in spans}
    traced = {span.name for span in spans if span.trace == TRACE}
    assert traced >= {"GET /outer", "GET /inner/{number}", "a piece of work", "in another process"}
    assert any("SELECT" in name for name in traced)
    assert not [span for span in spans if "SELECT" in span.name and span.trace != TRACE]
    assert not [name for name in names if "health" in name or name.endswith((" send", " receive"))]
    assert next(span for span in spans if span.name == "a piece of work").attributes == {"document_id": "d1"}


ADDRESSES = {"http.url": "http://some/links/s3cr3t?key=s3cr3t", "http.target": "/links/s3cr3t?key=s3cr3t"}
NEWER_ADDRESSES = {"url.full": "http://[/links/s3cr3t", "url.path": "/links/s3cr3t", "url.query": "key=s3cr3t"}


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (SpanKind.SERVER, ADDRESSES, {"http.url": "http://some", "http.target": ""}),
        (SpanKind.SERVER, NEWER_ADDRESSES, {"url.full": "http://[", "url.path": ""}),
        (
            SpanKind.SERVER,
            {**ADDRESSES, "http.route": "/links/{secret}"},
            {
                "http.url": "http://some/links/{secret}",
                "http.target": "/links/{secret}",
                "http.route": "/links/{secret}",
            },
        ),
        (SpanKind.CLIENT, {"http.url": "http://some/v1/chat?key=s3cr3t"}, {"http.url": "http://some/v1/chat"}),
    ],
)
def test_an_address_is_told_by_its_route(kind: SpanKind, given: dict[str, str], told: dict[str, str]) -> None:
    assert discreet(ReadableSpan("a request", attributes=given, kind=kind)).attributes == told


@dataclass(frozen=True)
class Sent:
    """A span as the collector got it."""

    name: str
    trace: str
    attributes: dict[str, str]


def _spans(body: bytes) -> Iterator[Sent]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        told = {one.key: one.value.string_value for one in resource.resource.attributes}
        assert told["service.name"] == "docqa-some"
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {one.key: one.value.string_value for one in span.attributes}
                yield Sent(span.name, span.trace_id.hex(), attributes)


def test_without_a_collector_there_is_no_trace_and_no_exporter() -> None:
    code = (
        "import sys; from typing import ClassVar; from chassis import telemetry; "
        "from chassis.settings import ServiceSettings as S; from chassis.web import create_app\n"
        "class Settings(S):\n    service: ClassVar[str] = 'some'\n"
        "settings = Settings(port=1, kafka='k:1', auth_url='http://a:1', database_url='postgresql+asyncpg://a:b@/c')\n"
        "telemetry.configure(settings); create_app(settings)\n"
        "with telemetry.span('work'):\n    print(telemetry.traceparent(), telemetry.trace_id())\n"
        "costly = ('opentelemetry.sdk', 'opentelemetry.exporter', 'opentelemetry.instrumentation')\n"
        "print([m for m in sys.modules if m.startswith(costly)])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines() == ["None None", "[]"]


def test_a_trace_is_continued_even_without_a_collector() -> None:
    with telemetry.continue_trace(PARENT):
        assert telemetry.traceparent() == PARENT
        assert telemetry.trace_id() == TRACE
    assert telemetry.traceparent() is None


@pytest.mark.parametrize(
    "nonsense", [None, "", "00", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", PARENT.upper(), PARENT + "\n"]
)
def test_nonsense_belongs_to_no_trace(nonsense: str | None) -> None:
    with telemetry.continue_trace(PARENT), telemetry.continue_trace(nonsense):
        assert telemetry.traceparent() is None

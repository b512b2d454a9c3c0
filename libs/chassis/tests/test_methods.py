"""HEAD is answered as GET is, without a body, and nothing goes on for it; `Allow` names every method."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from chassis.problems import unavailable
from chassis.settings import ServiceSettings
from chassis.streaming import Streamed
from chassis.web import create_app
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import REGISTRY

ClientOf = Callable[..., httpx.AsyncClient]

router = APIRouter()


@router.get("/things/{thing}")
async def show(thing: int) -> dict[str, int]:
    return {"thing": thing}


@router.delete("/things/{thing}")
async def delete(thing: int) -> None:
    del thing


@router.post("/things")
async def make() -> None:
    return None


@router.get("/away")
async def away() -> None:
    raise unavailable()


@router.get("/crash")
async def crash() -> None:
    raise RuntimeError


@router.get("/events")
async def events(request: Request, silent: bool = False) -> Streamed:
    return Streamed(_endless(request.app.state.said, silent=silent), media_type="text/event-stream")


async def _endless(said: list[str], *, silent: bool) -> AsyncIterator[bytes]:
    try:
        while True:
            if silent:
                await asyncio.Event().wait()
            said.append("heartbeat")
            yield b": \n\n"
    finally:
        said.append("end")


@pytest.fixture
def app(settings: ServiceSettings) -> FastAPI:
    app = create_app(settings, routers=[router], openapi_url="/openapi.json", cors_origins=["https://console.example"])
    app.state.said = []
    return app


@pytest.fixture
def client(app: FastAPI, client_of: ClientOf) -> httpx.AsyncClient:
    return client_of(app, headers={"X-Request-ID": "the-same", "Origin": "https://console.example"})


@pytest.mark.parametrize("path", ["/things/7", "/things/x", "/away", "/crash", "/nowhere", "/health/live", "/metrics"])
async def test_head_gives_the_status_and_headers_of_get_and_no_body(client: httpx.AsyncClient, path: str) -> None:
    head, get = await client.head(path), await client.get(path)

    if path == "/metrics":  # each look is one more sample
        del head.headers["content-length"], get.headers["content-length"]
    assert (head.status_code, head.headers) == (get.status_code, get.headers)
    assert head.content == b""


@pytest.mark.parametrize("silent", [False, True])
async def test_a_stream_ends_at_once_and_leaves_nothing_behind(
    app: FastAPI, client: httpx.AsyncClient, silent: bool
) -> None:
    before = asyncio.all_tasks()

    async with asyncio.timeout(5):
        answer = await client.head("/events", params={"silent": silent})

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == b""
    assert app.state.said == (["end"] if silent else ["heartbeat", "end"])
    assert asyncio.all_tasks() == before


async def test_what_can_only_be_sent_to_is_not_looked_at(client: httpx.AsyncClient) -> None:
    answer = await client.head("/things")

    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")


async def test_allow_names_the_methods_of_every_route_at_the_address(client: httpx.AsyncClient) -> None:
    assert (await client.put("/things/7")).headers["allow"] == "GET, HEAD, DELETE"
    assert (await client.post("/health/live")).headers["allow"] == "GET, HEAD"


async def test_head_is_counted_as_head_and_described_nowhere(client: httpx.AsyncClient) -> None:
    labels = {"method": "HEAD", "route": "/things/{thing}", "status": "200"}
    before = REGISTRY.get_sample_value("docqa_http_requests_total", labels) or 0.0

    await client.head("/things/7")

    assert REGISTRY.get_sample_value("docqa_http_requests_total", labels) == before + 1
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert set(paths["/things/{thing}"]) == {"get", "delete"}

"""Every error is a problem: through the whole stack of an app, as a client sees it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Literal
from uuid import UUID

import httpx
import pytest
from chassis.database import create_engine
from chassis.problems import ErrorEntry, ProblemError, invalid, unavailable
from chassis.settings import ServiceSettings
from chassis.web import create_app
from contracts.problems import CONTENT_TYPE, Problem
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import BigInteger, Text, bindparam, select
from sqlalchemy.exc import DBAPIError
from starlette.types import Message, Scope

ClientOf = Callable[..., httpx.AsyncClient]

CANARY = "correct-horse-battery-staple"


class ThingNotFound(Exception):
    def __init__(self, thing: str) -> None:
        super().__init__(f"There is no thing {thing}.")


class TooManyThings(Exception):
    detail = "You have enough things."
    retry_after = 41.2


class StrangeThing(Exception):
    field = "kind"


class SmallerThingNotFound(ThingNotFound):
    pass


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    password: str = Field(min_length=12, max_length=20)
    count: int = 1
    kind: Literal["small", "large"] = "small"
    parts: list[UUID] = []

    @field_validator("password")
    @classmethod
    def not_too_honest(cls, value: str) -> str:
        if value.startswith("correct"):
            raise ValueError(f"{value} is a well known password")
        return value


router = APIRouter()


@router.post("/things")
async def make(thing: Thing) -> dict[str, int]:
    return {"count": thing.count}


@router.get("/things/{thing}")
async def find(thing: str, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> None:
    del limit
    raise SmallerThingNotFound(thing)


@router.get("/many")
async def many() -> None:
    raise TooManyThings


@router.get("/strange")
async def strange() -> None:
    raise StrangeThing("There is no such kind of thing.")


@router.get("/own")
async def own() -> None:
    raise ProblemError(409, "thing.busy", "Busy", "It is busy.", headers={"X-Busy": "very"})


@router.get("/invalid")
async def invalid_otherwise() -> None:
    raise invalid("cursor", "cursor.foreign", "This cursor belongs to another list.")


@router.get("/away")
async def away() -> None:
    raise unavailable()


@router.get("/crash")
async def crash() -> None:
    raise RuntimeError(f"the document says {CANARY}")


@router.get("/database-away")
async def database_away() -> None:
    raise DBAPIError("SELECT 1", None, ConnectionRefusedError(111, "refused"))


@pytest.fixture
def app(settings: ServiceSettings) -> FastAPI:
    errors: dict[type[Exception], ErrorEntry] = {
        ThingNotFound: ErrorEntry(404, "thing.not_found", "No such thing"),
        StrangeThing: ErrorEntry(422, "thing.strange", "Strange thing"),
        TooManyThings: ErrorEntry(429, "quota.things", "Too many things"),
    }
    return create_app(settings, routers=[router], errors=errors, openapi_url="/openapi.json")


@pytest.fixture
def client(app: FastAPI, client_of: ClientOf) -> httpx.AsyncClient:
    return client_of(app)


def problem_in(answer: httpx.Response) -> Problem:
    """The problem that the answer must be."""
    assert answer.headers["content-type"] == CONTENT_TYPE
    problem = Problem.model_validate_json(answer.content)
    assert problem.status == answer.status_code
    assert problem.request_id == answer.headers["x-request-id"]
    assert problem.type.endswith(problem.code)
    assert problem.title
    assert problem.detail
    return problem


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/things/7", 404, "thing.not_found"),
        ("GET", "/many", 429, "quota.things"),
        ("GET", "/own", 409, "thing.busy"),
        ("GET", "/away", 503, "service.unavailable"),
        ("GET", "/database-away", 503, "service.unavailable"),
        ("GET", "/crash", 500, "service.internal_error"),
        ("GET", "/nowhere", 404, "route.not_found"),
        ("GET", "/things/7/", 404, "route.not_found"),
        ("DELETE", "/things/7", 405, "route.method_not_allowed"),
        ("BREW", "/things/7", 405, "route.method_not_allowed"),
        ("GET", "/things/7?limit=NaN", 422, "request.invalid"),
        ("GET", "/invalid", 422, "request.invalid"),
    ],
)
async def test_every_error_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)

    problem = problem_in(answer)
    assert (problem.status, problem.code) == (status, code)


async def test_an_error_takes_the_line_of_its_nearest_class(client: httpx.AsyncClient) -> None:
    assert problem_in(await client.get("/things/7")).detail == "There is no thing 7."


async def test_every_422_names_what_it_refuses(client: httpx.AsyncClient) -> None:
    (refused,) = problem_in(await client.get("/strange")).errors or []
    assert (refused.field, refused.code, refused.detail) == ("kind", "thing.strange", "There is no such kind of thing.")


async def test_429_and_503_say_when_to_come_back(client: httpx.AsyncClient) -> None:
    assert (await client.get("/many")).headers["retry-after"] == "42"
    assert int((await client.get("/away")).headers["retry-after"]) >= 1
    assert int((await client.get("/database-away")).headers["retry-after"]) >= 1


async def test_a_problem_carries_its_own_headers(client: httpx.AsyncClient) -> None:
    assert (await client.get("/own")).headers["x-busy"] == "very"


async def test_405_says_which_methods_there_are(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/things/7")).headers["allow"] == "GET, HEAD"


async def test_a_crash_tells_the_client_nothing_and_the_log_what_happened(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/crash")

    assert CANARY not in answer.text
    assert "Traceback" not in answer.text
    assert any(record.exc_info for record in caplog.records)


async def test_the_request_id_is_the_clients_if_it_is_a_sane_one(client: httpx.AsyncClient) -> None:
    for path in ("/own", "/health/live"):
        answer = await client.get(path, headers={"X-Request-ID": "abc-123"})
        assert answer.headers["x-request-id"] == "abc-123"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "é"])
async def test_a_strange_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/own", headers=[(b"X-Request-ID", given.encode())])

    assert answer.headers["x-request-id"] not in ("", given)
    assert problem_in(answer).request_id == answer.headers["x-request-id"]


async def test_a_foreign_host_is_harmless(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/7/", headers={"Host": "evil.example"}, follow_redirects=False)

    assert answer.status_code == 404
    assert "evil" not in answer.text + str(answer.headers)


async def test_a_header_of_20_kb_is_harmless(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live", headers={"X-Long": "x" * 20_000})).status_code == 200


async def test_a_megabyte_of_headers_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live", headers={"Authorization": "Bearer " + "x" * 1_000_000})

    assert problem_in(answer).code == "request.headers_too_large"


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ("{", "body", "json_invalid"),
        ("", "body", "missing"),
        ("[]", "body", "model_attributes_type"),
        ("null", "body", "model_attributes_type"),
        ("[" * 100_000, "body", "unreadable"),
        ('{"a": ' * 20_000, "body", "unreadable"),
        ('{"password": "aaaaaaaaaaaaa", "count": ' + "9" * 5_000 + "}", "body", "unreadable"),
        ('{"password": "aaaaaaaaaaaaa", "count": NaN}', "count", "int_type"),
        ('{"password": "aaaaaaaaaaaaa", "count": Infinity}', "count", "int_type"),
        ('{"password": "aaaaaaaaaaaaa", "count": 1e400}', "count", "int_type"),
        ('{"password": "aaaaaaaaaaaaa", "count": true}', "count", "int_type"),
        ('{"password": "aaaaaaaaaaaaa", "count": "5"}', "count", "int_type"),
        ('{"password": "aaaaaaaaaaaaa\\ud800"}', "password", "string_unicode"),
        ('{"password": "aaaaaaaaaaaaa", "is_admin": true}', "is_admin", "extra_forbidden"),
        ('{"password": "aaaaaaaaaaaaa", "\\ud800": true}', "body", "string_unicode"),
        ('{"password": "aaaaaaaaaaaaa", "what is this?": true}', "?", "extra_forbidden"),
        ('{"password": "aaaaaaaaaaaaa", "kind": "huge"}', "kind", "literal_error"),
        ('{"password": "short"}', "password", "string_too_short"),
    ],
)
async def test_bad_bodies_are_named_field_by_field(client: httpx.AsyncClient, body: str, field: str, code: str) -> None:
    answer = await client.post("/things", content=body, headers={"Content-Type": "application/json"})

    problem = problem_in(answer)
    assert problem.status == 422
    assert problem.errors is not None
    assert (field, code) in [(error.field, error.code) for error in problem.errors]


async def test_a_body_that_is_not_utf_8_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/things", content=b'{"password": "\xff\xfe"}', headers={"Content-Type": "application/json"}
    )

    assert problem_in(answer).code == "request.invalid"


@pytest.mark.parametrize(
    "body",
    [
        {"password": CANARY},
        {"password": "aaaaaaaaaaaaa", "kind": CANARY},
        {"password": "aaaaaaaaaaaaa", "parts": [CANARY]},
        {"password": "aaaaaaaaaaaaa", "count": CANARY},
        {"password": "aaaaaaaaaaaaa", CANARY + "!": 1},
        {"password": [CANARY]},
    ],
)
async def test_a_422_never_repeats_what_was_sent(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    answer = await client.post("/things", json=body)

    assert problem_in(answer).status == 422
    assert "horse" not in answer.text


@pytest.mark.parametrize("value", ["a\0b", "a\ud800", 2**70])
async def test_what_no_database_can_hold_is_the_requests_fault(
    settings: ServiceSettings, client_of: ClientOf, database: Callable[[None], Awaitable[str]], value: str | int
) -> None:
    engine = create_engine(await database(None))
    reading = APIRouter()

    @reading.get("/stored")
    async def stored() -> None:
        async with engine.connect() as connection:
            kind = BigInteger if isinstance(value, int) else Text
            await connection.execute(select(bindparam("value", value, type_=kind)))

    answer = await client_of(create_app(settings, routers=[reading])).get("/stored")
    await engine.dispose()

    assert [error.code for error in problem_in(answer).errors or []] == ["unstorable"]


async def test_ten_thousand_mistakes_are_not_all_listed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", json={"password": "aaaaaaaaaaaaa", "parts": ["x"] * 10_001})

    assert len(problem_in(answer).errors or []) == 50


async def test_a_body_over_the_limit_is_refused_whether_announced_or_not(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 100_000

    announced = await client.post("/things", content=b"x" * 2_000_000)
    streamed = await client.post("/things", content=chunks(), headers={"Content-Type": "application/json"})

    assert problem_in(announced).code == "request.too_large"
    assert problem_in(streamed).code == "request.too_large"


async def test_a_body_that_drips_is_refused(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.answering.BODY_SECONDS", 0.1)
    monkeypatch.setattr("chassis.answering.DISCARD_SECONDS", 0.1)

    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    answer = await client.post("/things", content=drops(), headers={"Content-Type": "application/json"})

    assert (answer.status_code, problem_in(answer).code) == (408, "request.too_slow")


async def test_a_request_that_a_stopping_process_cuts_off_is_told_to_come_back(settings: ServiceSettings) -> None:
    waits, begun, sent = APIRouter(), asyncio.Event(), list[Message]()

    @waits.get("/waits")
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "path": "/waits", "headers": [], "query_string": b""}
    answering = asyncio.create_task(create_app(settings, routers=[waits])(scope, receive, send))
    await begun.wait()
    answering.cancel()  # as the server does once it has waited for long enough
    await asyncio.gather(answering, return_exceptions=True)

    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert (start["status"], json.loads(body["body"])["code"]) == (503, "service.unavailable")
    assert (headers["content-type"], headers["connection"]) == (CONTENT_TYPE, "close")
    assert headers["retry-after"]


async def test_unknown_origins_are_refused_with_a_problem_and_known_ones_see_errors(
    settings: ServiceSettings, client_of: ClientOf
) -> None:
    client = client_of(create_app(settings, routers=[router], cors_origins=["https://console.example"]))
    preflight = {"Access-Control-Request-Method": "GET"}

    foreign = await client.options("/own", headers={"Origin": "https://evil.example", **preflight})
    known = await client.options("/own", headers={"Origin": "https://console.example", **preflight})
    error = await client.get("/own", headers={"Origin": "https://console.example"})

    assert problem_in(foreign).code == "cors.refused"
    assert known.status_code == 200
    assert known.headers["x-request-id"]
    assert problem_in(error).code == "thing.busy"
    assert error.headers["access-control-allow-origin"] == "https://console.example"


async def test_without_origins_nothing_is_allowed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/own", headers={"Origin": "https://console.example"})

    assert "access-control-allow-origin" not in answer.headers


async def test_the_description_is_served_only_where_it_is_asked_for(
    settings: ServiceSettings, client: httpx.AsyncClient, client_of: ClientOf
) -> None:
    assert (await client.get("/openapi.json")).json()["openapi"].startswith("3.1")
    assert "/metrics" not in (await client.get("/openapi.json")).json()["paths"]
    assert (await client_of(create_app(settings)).get("/openapi.json")).status_code == 404
    assert (await client.get("/docs")).status_code == 404

"""What is in the logs, and what never is: canaries in every place where people's data pass."""

import asyncio
import errno
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog
from chassis import logs, telemetry
from chassis.database import create_engine
from chassis.settings import ServiceSettings
from chassis.web import create_app
from fastapi import APIRouter
from pydantic import BaseModel
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError

CANARY = "canary-zq81"

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnktenE4MSJ9.c2lnbmF0dXJl-canary-zq81"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """`lines()`: what was logged since, by anybody in the process."""
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    monkeypatch.setattr(sys, "stdout", out)
    logs.configure("some", "debug")
    structlog.configure(cache_logger_on_first_use=False)  # modules' loggers are the next test's as well

    def read() -> list[dict[str, Any]]:
        assert CANARY not in out.getvalue()
        return [json.loads(line) for line in out.getvalue().splitlines()]

    yield read
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)
    structlog.reset_defaults()
    logging.captureWarnings(False)


def test_a_body_that_is_no_form_is_not_quoted(lines: Callable[[], list[dict[str, Any]]]) -> None:
    with pytest.raises(MultipartParseError):
        MultipartParser(b"boundary").write(b"--boundarY")

    assert lines() == []


def test_a_line_is_one_json_object_that_says_who_and_when(lines: Callable[[], list[dict[str, Any]]]) -> None:
    structlog.get_logger("ours").info("stored", pages=3)
    logging.getLogger("a library").warning("careful with %s", "that")

    ours, theirs = lines()

    assert ours.items() >= {"event": "stored", "pages": 3, "service": "some", "level": "info", "logger": "ours"}.items()
    assert ours["timestamp"].endswith("Z")
    assert theirs["event"] == "careful with that"
    assert theirs["service"] == "some"


def test_ids_are_on_every_line_written_within(lines: Callable[[], list[dict[str, Any]]]) -> None:
    with logs.bound(document_id="d1", event_id="e1", trace_id=None):
        logging.getLogger("a library").warning("inside")
    logging.getLogger("a library").warning("outside")

    inside, outside = lines()

    assert (inside["document_id"], inside["event_id"]) == ("d1", "e1")
    assert "trace_id" not in inside
    assert "document_id" not in outside


@pytest.mark.parametrize(
    "field",
    [
        "password",
        "new_password",
        "token",
        "access_token",
        "refreshToken",
        "authorization",
        "api_key",
        "apikey",
        "secret",
        "client_secret",
        "cookie",
        "credentials",
        "private_key",
        "text",
        "question",
        "query",
        "answer",
        "content",
        "filename",
        "email",
        "quote",
        "prompt",
        "body",
        "title",
        "comment",
    ],
)
def test_private_fields_are_blanked_whoever_writes_them(lines: Callable[[], list[dict[str, Any]]], field: str) -> None:
    structlog.get_logger().info("said", **{field: f"{CANARY} and more"})
    structlog.get_logger().info("said", outer={field: [CANARY]})

    first, second = lines()

    assert first[field] == "[redacted]"
    assert second["outer"][field] == "[redacted]"


@pytest.mark.parametrize(
    "said",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: basic {CANARY}",
        f"got {JWT}",
        f"key dq_{CANARY} and sk-{CANARY} and AIza{CANARY}",
        f"postgresql+asyncpg://gateway:{CANARY}@postgres/gateway",
        f"https://{CANARY}:{CANARY}@proxy.example/x",
        f"GET https://host/path?token={CANARY}&x=1 failed",
        f"GET /api/docs/1/raw?signature={CANARY} HTTP/1.1",
        f"password={CANARY} is wrong",
        "x" * 600 + CANARY,
    ],
)
def test_secrets_within_text_are_cut_out(lines: Callable[[], list[dict[str, Any]]], said: str) -> None:
    structlog.get_logger().warning(said)
    logging.getLogger("a library").warning("%s", said)
    logging.getLogger("a library").error("failed", exc_info=RuntimeError(said))
    structlog.get_logger().warning("nested", details={"reasons": [said, ValueError(said)]})

    assert len(lines()) == 4


def test_numbers_and_ids_stay_readable(lines: Callable[[], list[dict[str, Any]]]) -> None:
    structlog.get_logger().info("asked", input_tokens=12, cached=True, document_id="019a-1", at=None)

    (line,) = lines()

    assert (line["input_tokens"], line["cached"], line["document_id"], line["at"]) == (12, True, "019a-1", None)


class Login(BaseModel):
    password: int


def raised_by_pydantic() -> Exception:
    try:
        Login.model_validate({"password": CANARY})
    except ValueError as error:
        return error
    raise AssertionError


def raised_by_unicode() -> Exception:
    try:
        (CANARY + "\ud800").encode()
    except UnicodeError as error:
        return error
    raise AssertionError


def raised_by_the_driver_within_sqlalchemy() -> Exception:
    return AsyncAdapt_asyncpg_dbapi.Error(f"invalid input for query argument $1: '{CANARY}'")


@pytest.mark.parametrize(
    "error",
    [
        raised_by_pydantic(),
        raised_by_unicode(),
        raised_by_the_driver_within_sqlalchemy(),
        KeyError(CANARY),
        DBAPIError(f"INSERT {CANARY}", {"name": CANARY}, Exception(f"Key (email)=({CANARY}) already exists")),
    ],
    ids=["pydantic", "unicode", "driver", "key", "database"],
)
def test_errors_that_quote_what_they_were_given_are_told_by_kind(
    lines: Callable[[], list[dict[str, Any]]], error: Exception
) -> None:
    try:
        raise RuntimeError("while storing") from error
    except RuntimeError:
        structlog.get_logger().exception("failed")
        logging.getLogger("a library").exception("failed")

    for line in lines():
        assert line["error"].startswith("RuntimeError: while storing < ")
        assert type(error).__name__ in line["error"]
        assert any("test_errors_that_quote" in frame for frame in line["where"])


async def test_a_real_violation_of_a_rule_tells_no_value(
    lines: Callable[[], list[dict[str, Any]]], database: Callable[[None], Any]
) -> None:
    engine = create_engine(await database(None))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE users (email text PRIMARY KEY)"))
            for _ in range(2):
                await connection.execute(text("INSERT INTO users VALUES (:email)"), {"email": CANARY})
    except DBAPIError:
        logging.getLogger("a library").exception("failed")
    await engine.dispose()

    assert "23505" in lines()[-1]["error"]


def test_a_chain_of_errors_ends(lines: Callable[[], list[dict[str, Any]]]) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    structlog.get_logger().error("failed", exc_info=first)

    assert lines()[0]["error"] == "ValueError: first < ValueError: second"


def test_what_ends_the_process_is_logged_like_everything_else(lines: Callable[[], list[dict[str, Any]]]) -> None:
    error = RuntimeError(f"token={CANARY}")
    sys.excepthook(RuntimeError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    (line,) = lines()

    assert line["level"] == "critical"
    assert line["error"] == "RuntimeError: token=[redacted]"


def test_what_a_client_says_of_its_error_can_be_read(lines: Callable[[], list[dict[str, Any]]]) -> None:
    error = 'KafkaError{code=_TRANSPORT,val=-195,str="Local: Broker transport failure"}'
    structlog.get_logger().warning("the broker is away", error=error)

    assert lines()[0]["error"] == error


def test_libraries_that_chatter_are_heard_only_when_they_warn(lines: Callable[[], list[dict[str, Any]]]) -> None:
    for client in ("httpx", "httpx2"):
        logging.getLogger(client).info("HTTP Request: GET https://host/?key=%s", CANARY)
    logging.getLogger("faststream.consumer").debug("fetching")

    assert lines() == []


class FullDisk(io.StringIO):
    tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("lines")
def test_a_line_that_cannot_be_written_is_lost_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    full = FullDisk()
    monkeypatch.setattr(sys, "stdout", full)
    logs.configure("some")

    structlog.get_logger().info("stored")

    assert full.tries == 1


router = APIRouter()


class Question(BaseModel):
    question: int


@router.post("/ask")
async def ask(question: Question) -> None:
    del question


@router.get("/crash/{thing:str}")
async def crash(thing: str) -> None:
    raise RuntimeError(f"Bearer {thing}")


async def test_lines_of_several_services_about_one_request_carry_its_trace(
    lines: Callable[[], list[dict[str, Any]]],
    settings: ServiceSettings,
    client_of: Callable[..., httpx.AsyncClient],
) -> None:
    client = client_of(create_app(settings, routers=[router]))
    trace = "0af7651916cd43dd8448eb211c80319c"
    await client.get("/nowhere", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    with telemetry.continue_trace(f"00-{trace}-b7ad6b7169203331-01"):
        structlog.get_logger().info("handled")

    assert [line["trace_id"] for line in lines()] == [trace, trace]


async def test_requests_leave_their_ids_and_nothing_of_what_they_said(
    lines: Callable[[], list[dict[str, Any]]],
    settings: ServiceSettings,
    client_of: Callable[..., httpx.AsyncClient],
) -> None:
    client = client_of(create_app(settings, routers=[router]))
    await client.post(f"/ask?q={CANARY}", json={"question": CANARY}, headers={"Authorization": f"Bearer {CANARY}"})
    await client.get(f"/crash/{CANARY}", headers={"X-Request-ID": "r-1"})
    await client.get(f"/nowhere/{CANARY}")
    await client.get("/health/live")
    await asyncio.sleep(0)

    written = [line for line in lines() if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in written] == [
        ("/ask", 422),
        ("/crash/{thing}", 500),
        ("(none)", 404),
        ("/health/live", 200),
    ]
    assert written[3]["level"] == "debug"
    failure = next(line for line in lines() if line["event"] == "request failed")
    assert failure["request_id"] == "r-1"
    assert len({line["trace_id"] for line in written}) == 4
    assert failure["code"] == "service.internal_error"
    assert any(" crash" in frame for frame in failure["where"])

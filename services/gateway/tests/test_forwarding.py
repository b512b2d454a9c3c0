"""What is passed on, with which headers, and what comes back as it is, or as a clear 503."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from contracts.internal import EXCLUDED_HEADER, LIVE_VERSION_HEADER, decode_excluded
from fastapi import Request, Response
from sqlalchemy import text
from starlette.responses import JSONResponse, StreamingResponse

from .front_door import Gateway, Person, purged, served

NOBODY = "http://127.0.0.1:1"
SOME_ID = UUID("5b0d3c1e-4f27-4a86-9d0e-7c2f61a8b934")


def last_asked(gateway: Gateway) -> httpx.Request:
    return gateway.behind.asked[-1]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/auth/signup"), ("POST", "/api/auth/login"), ("POST", "/api/auth/token"),
     ("POST", "/api/auth/refresh"), ("POST", "/api/auth/logout"), ("GET", "/api/auth/me"), ("GET", "/api/auth/keys"),
     ("POST", "/api/auth/keys"), ("DELETE", f"/api/auth/keys/{SOME_ID}"), ("GET", "/api/chats?limit=3&cursor=x"),
     ("GET", f"/api/chats/{SOME_ID}"), ("PATCH", f"/api/chats/{SOME_ID}"), ("DELETE", f"/api/chats/{SOME_ID}"),
     ("POST", f"/api/chats/{SOME_ID}/messages/{SOME_ID}/stop"),
     ("POST", f"/api/chats/{SOME_ID}/messages/{SOME_ID}/feedback")],
)  # fmt: skip
async def test_a_request_is_passed_on_as_it_is(gateway: Gateway, ada: Person, method: str, path: str) -> None:
    body = b'{"some": "body"}' if method in ("POST", "PATCH") else b""

    answer = await ada.http.request(method, path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 200
    service = "auth" if path.startswith("/api/auth") else "qa"
    assert answer.json() == {"said_by": service}
    asked = last_asked(gateway)
    assert (asked.method, asked.url.raw_path.decode(), asked.url.host) == (method, path, service)
    assert gateway.behind.bodies[-1] == body
    assert asked.headers["x-request-id"] == answer.headers["x-request-id"]


async def test_only_the_callers_own_token_is_passed_on(gateway: Gateway, ada: Person) -> None:
    headers = {"Docqa-Excluded": "forged", "Docqa-Live-Version": "9", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4"}

    await ada.http.get("/api/chats", headers=headers)
    assert last_asked(gateway).headers["authorization"] == f"Bearer {ada.token}"
    await ada.http.post("/api/auth/login", json={}, headers=headers)

    for asked in gateway.behind.asked[-2:]:
        assert {"docqa-excluded", "docqa-live-version", "cookie", "x-forwarded-for"}.isdisjoint(asked.headers)
    assert "authorization" not in last_asked(gateway).headers


@pytest.mark.parametrize(
    "path",
    ["/internal/keys/exchange", "/api/internal/keys/exchange", "/api/auth/../../internal/keys/exchange",
     "/api/auth/%2e%2e/internal", "/internal/indexes", "/api/auth/nothing", "/metrics/../internal", "/api/chats/../x"],
)  # fmt: skip
async def test_what_is_internal_cannot_be_reached(gateway: Gateway, ada: Person, path: str) -> None:
    for method in ("GET", "POST"):
        assert (await ada.http.request(method, path)).status_code in (404, 405, 422)
    assert all("internal" not in str(asked.url) for asked in gateway.behind.asked)


async def test_an_answer_comes_back_with_its_status_and_headers(gateway: Gateway, ada: Person) -> None:
    async def limited(_: Request) -> Response:
        headers = {"Retry-After": "17", "Set-Cookie": "a=b", "Server": "x", "Docqa-Secret": "y"}
        return JSONResponse({"code": "rate.asks"}, 429, headers, media_type="application/problem+json")

    gateway.behind.answer = limited

    answer = await ada.http.post("/api/ask", json={"question": "Why?"})

    assert (answer.status_code, answer.json()) == (429, {"code": "rate.asks"})
    assert answer.headers["retry-after"] == "17"
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"set-cookie", "docqa-secret"}.isdisjoint(answer.headers)


async def test_an_empty_answer_stays_empty(gateway: Gateway, ada: Person) -> None:
    async def nothing(_: Request) -> Response:
        return Response(status_code=204)

    gateway.behind.answer = nothing

    answer = await ada.http.delete(f"/api/chats/{uuid4()}")

    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_service_that_is_away_is_a_503(start: Any, token_for: Any) -> None:
    gateway: Gateway = start(qa_url=NOBODY, ingest_url=NOBODY)
    ada = gateway.people(None)
    gateway.app.state.parts.auth._url = NOBODY  # it has given its keys
    document = await ada.has_uploaded()
    await gateway.becomes_ready(ada.id, document)

    for method, path in (
        ("POST", "/api/ask"), ("GET", "/api/chats"), ("GET", f"/api/docs/{document}/chunks"),
        ("POST", "/api/auth/login"),
    ):  # fmt: skip
        answer = await ada.http.request(method, path, json={"question": "Why?"})
        assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    assert (await ada.http.get("/api/docs")).status_code == 200
    assert (await ada.http.get("/health/ready")).status_code == 200


BAD_QUESTIONS = [
    b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b'{"question": NaN, "query": NaN}',
    b'{"question": "", "query": ""}', b'{"question": " \\u200b ", "query": " \\u200b "}',
    b'{"question": "\\ud800", "query": "\\ud800"}', b'{"question": "a\\u0000b", "query": "a\\u0000b"}',
    json.dumps({"question": "x" * 4001, "query": "x" * 4001}).encode(),
    *(json.dumps({"question": "a", "query": "a", **more}).encode() for more in (
        {"top_k": 0}, {"top_k": -1}, {"top_k": 10**9}, {"top_k": "5"}, {"top_k": True}, {"top_k": 1.5},
        {"top_k": None}, {"document_ids": []}, {"document_ids": ["x"]}, {"document_ids": [{}]},
        {"document_ids": [str(uuid4())] * 101}, {"where": {}}, {"system_prompt": "x"}, {"user_id": "x"},
        {"live_versions": {}},
    )),
    b'{"question": "a", "query": "a", "top_k": 1e400}',
    b'{"question": "a", "query": "a", "top_k": NaN}',
]  # fmt: skip


class TestAsking:
    async def test_a_question_is_validated_and_passed_on(self, gateway: Gateway, ada: Person) -> None:
        answer = await ada.http.post("/api/ask", json={"question": "  Why? \u200b", "top_k": 3})

        assert answer.json() == {"said_by": "qa"}
        sent = json.loads(gateway.behind.bodies[-1])
        assert (sent["question"], sent["top_k"], sent["live_versions"]) == ("Why?", 3, {})
        assert EXCLUDED_HEADER.lower() not in last_asked(gateway).headers

    @pytest.mark.parametrize("route", ["ask", "search"])
    async def test_a_bad_body_is_refused_here(self, gateway: Gateway, ada: Person, route: str) -> None:
        for body in BAD_QUESTIONS:
            answer = await ada.http.post(f"/api/{route}", content=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid"), body
            assert answer.json()["errors"], body

        assert not [one for one in gateway.behind.asked if one.url.host == "qa"]

    async def test_a_body_beyond_64_kib_is_refused(self, ada: Person) -> None:
        for headers in ({}, {"Transfer-Encoding": "chunked"}):
            answer = await ada.http.post("/api/ask", content=b" " * 70_000, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")

    async def test_named_documents_go_with_the_version_that_answers(self, gateway: Gateway, ada: Person) -> None:
        document = await ada.has_uploaded()
        await gateway.becomes_ready(ada.id, document)
        await ada.http.post(f"/api/docs/{document}/reprocess")

        for route, field in (("ask", "question"), ("search", "query")):
            answer = await ada.http.post(f"/api/{route}", json={field: "a", "document_ids": [str(document)] * 2})
            assert answer.status_code == 200
            assert json.loads(gateway.behind.bodies[-1])["live_versions"] == {str(document): 1}

    async def test_foreign_and_deleted_ones_never_existed(self, gateway: Gateway, ada: Person, bob: Person) -> None:
        mine, foreign, deleted = (
            await ada.has_uploaded("a.txt", b"a"), await bob.has_uploaded(), await ada.has_uploaded("b.txt", b"b")
        )  # fmt: skip
        for owner, document in ((ada, mine), (bob, foreign), (ada, deleted)):
            await gateway.becomes_ready(owner.id, document)
        await ada.http.delete(f"/api/docs/{deleted}")

        for other in (foreign, deleted, uuid4()):
            ids = [str(mine), str(other)]
            answer = await ada.http.post("/api/ask", json={"question": "a", "document_ids": ids})
            assert (answer.status_code, answer.json()["code"]) == (404, "document.not_found")

    async def test_a_document_without_an_answering_version_is_a_409(self, gateway: Gateway, ada: Person) -> None:
        document = await ada.has_uploaded()

        answer = await ada.http.post("/api/search", json={"query": "a", "document_ids": [str(document)]})

        assert (answer.status_code, answer.json()["code"]) == (409, "document.not_ready")

    async def test_what_is_being_deleted_is_named_until_qa_has_erased_it(
        self, gateway: Gateway, ada: Person, bob: Person
    ) -> None:
        first, second = await ada.has_uploaded("a.txt", b"a"), await ada.has_uploaded("b.txt", b"b")
        deletions = (await ada.http.post("/api/docs/delete", json={"ids": [str(first), str(second)]})).json()["items"]

        async def excluded() -> frozenset[UUID]:
            value = last_asked(gateway).headers.get(EXCLUDED_HEADER)
            return decode_excluded(value) if value else frozenset()

        for method, path in (("POST", "/api/ask"), ("POST", "/api/search"), ("GET", "/api/chats"),
                             ("GET", f"/api/chats/{uuid4()}")):  # fmt: skip
            body = {"question": "a"} if path == "/api/ask" else {"query": "a"}
            await ada.http.request(method, path, json=body)
            assert await excluded() == {first, second}
        await bob.http.get("/api/chats")
        assert await excluded() == frozenset()
        await gateway.hear(purged(ada.id, first, UUID(deletions[0]["deletion_id"]), service="qa"))
        await ada.http.get("/api/chats")
        assert await excluded() == {second}

    async def test_more_deletions_than_a_header_holds_are_a_503(self, gateway: Gateway, ada: Person) -> None:
        async with gateway.sessions.begin() as session:
            await session.execute(
                text(
                    "INSERT INTO deletions (id, owner_id, document_id) "
                    "SELECT gen_random_uuid(), :owner, gen_random_uuid() FROM generate_series(1, 2001)"
                ),
                {"owner": ada.id},
            )

        assert (await ada.http.post("/api/ask", json={"question": "a"})).status_code == 503


class TestChunks:
    async def test_chunks_are_asked_for_with_the_version_that_answers(self, gateway: Gateway, ada: Person) -> None:
        document = await ada.has_uploaded()
        await gateway.becomes_ready(ada.id, document)

        answer = await ada.http.get(f"/api/docs/{document}/chunks?limit=5&cursor=abc")

        assert answer.json() == {"said_by": "ingest"}
        assert last_asked(gateway).headers[LIVE_VERSION_HEADER] == "1"
        assert last_asked(gateway).url.query == b"limit=5&cursor=abc"

    async def test_before_the_first_ready_there_are_none(self, ada: Person) -> None:
        document = await ada.has_uploaded()

        answer = await ada.http.get(f"/api/docs/{document}/chunks")

        assert (answer.status_code, answer.json()["code"]) == (409, "document.not_ready")


class TestKeys:
    async def test_a_key_stands_for_a_token_and_is_exchanged_once(
        self, gateway: Gateway, ada: Person, token_for: Any
    ) -> None:
        token = token_for(ada.id)
        gateway.behind.exchanged["dq_secret"] = token
        for _ in range(3):
            answer = await ada.http.get("/api/chats", headers={"Authorization": "Bearer dq_secret"})
            assert answer.status_code == 200

        assert last_asked(gateway).headers["authorization"] == f"Bearer {token}"
        assert sum("exchange" in str(asked.url) for asked in gateway.behind.asked) == 1

    async def test_a_deleted_key_is_out_at_once(
        self, gateway: Gateway, ada: Person, bob: Person, token_for: Any
    ) -> None:
        async def deleted(_: Request) -> Response:
            return Response(status_code=204)

        gateway.behind.exchanged.update({"dq_adas": token_for(ada.id), "dq_bobs": token_for(bob.id)})
        for key in ("dq_adas", "dq_bobs"):
            assert (await ada.http.get("/api/docs", headers={"Authorization": f"Bearer {key}"})).status_code == 200
        gateway.behind.exchanged.clear()
        gateway.behind.answer = deleted

        assert (await ada.http.delete(f"/api/auth/keys/{SOME_ID}")).status_code == 204

        for key, status in (("dq_adas", 401), ("dq_bobs", 200)):
            assert (await ada.http.get("/api/docs", headers={"Authorization": f"Bearer {key}"})).status_code == status

    @pytest.mark.parametrize("key", ["dq_unknown", "dq_" + "x" * 2000])
    async def test_a_key_that_is_none_is_a_401(self, ada: Person, key: str) -> None:
        answer = await ada.http.get("/api/docs", headers={"Authorization": f"Bearer {key}"})

        assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_invalid")
        assert "www-authenticate" in answer.headers

    async def test_with_auth_away_a_key_is_a_503(self, gateway: Gateway, ada: Person) -> None:
        gateway.app.state.callers._keys._url = f"{NOBODY}/internal/keys/exchange"

        answer = await ada.http.get("/api/docs", headers={"Authorization": "Bearer dq_any"})

        assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")

    @pytest.mark.parametrize(
        "headers",
        [[], [("Authorization", "")], [("Authorization", "Basic abc")], [("Authorization", "Bearer")],
         [("Authorization", "Bearer a b")], [("Authorization", "Bearer x.y.z")],
         [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]],
    )  # fmt: skip
    async def test_credentials_that_are_none_are_a_401(
        self, gateway: Gateway, ada: Person, headers: list[tuple[str, str]]
    ) -> None:
        transport = httpx.ASGITransport(gateway.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as stranger:
            answer = await stranger.get("/api/docs", headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_invalid")


class TestOnTheWire:
    """Over real sockets on both sides: what streams, streams."""

    @pytest.fixture
    async def wired(self, gateway: Gateway) -> AsyncIterator[tuple[Gateway, str]]:
        async with served(gateway.app) as address:
            yield gateway, address

    async def test_an_answer_streams_through_piece_by_piece(self, wired: tuple[Gateway, str], ada: Person) -> None:
        gateway, address = wired
        go_on = asyncio.Event()

        async def tokens() -> AsyncIterator[bytes]:
            yield b"event: token\ndata: one\n\n"
            await go_on.wait()
            yield b"event: done\ndata: {}\n\n"

        async def answer(_: Request) -> Response:
            return StreamingResponse(tokens(), media_type="text/event-stream")

        gateway.behind.answer = answer
        headers = {"Authorization": f"Bearer {ada.token}", "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(base_url=address, timeout=30) as http,
            http.stream("POST", "/api/ask", json={"question": "a"}, headers=headers) as streamed,
        ):
            pieces = streamed.aiter_text()
            assert await anext(pieces) == "event: token\ndata: one\n\n"
            go_on.set()
            assert await anext(pieces) == "event: done\ndata: {}\n\n"
        assert last_asked(gateway).headers["accept"] == "text/event-stream"
        assert streamed.headers["x-accel-buffering"] == "no"

    async def test_a_reader_that_leaves_is_noticed_behind(self, wired: tuple[Gateway, str], ada: Person) -> None:
        gateway, address = wired
        left = asyncio.Event()

        async def tokens() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"event: token\ndata: one\n\n"
                    await asyncio.sleep(0.01)
            finally:
                left.set()

        async def answer(_: Request) -> Response:
            return StreamingResponse(tokens(), media_type="text/event-stream")

        gateway.behind.answer = answer
        async with (
            httpx.AsyncClient(base_url=address, timeout=30) as http,
            http.stream(
                "POST", "/api/ask", json={"question": "a"}, headers={"Authorization": f"Bearer {ada.token}"}
            ) as streamed,
        ):
            await anext(streamed.aiter_bytes())
        async with asyncio.timeout(5):
            await left.wait()

    async def test_a_stream_that_breaks_off_ends_with_an_error(self, wired: tuple[Gateway, str], ada: Person) -> None:
        gateway, address = wired

        async def tokens() -> AsyncIterator[bytes]:
            yield b"event: token\ndata: one\n\n"
            raise ConnectionResetError

        async def answer(_: Request) -> Response:
            return StreamingResponse(tokens(), media_type="text/event-stream")

        gateway.behind.answer = answer
        async with httpx.AsyncClient(base_url=address, timeout=30) as http:
            said = await http.post("/api/ask", json={"question": "a"}, headers={"Authorization": f"Bearer {ada.token}"})

        assert said.text.startswith("event: token")
        assert '"code":"service.unavailable"' in said.text.partition("event: error\n")[2]

    async def test_a_large_answer_streams_through_whole(self, wired: tuple[Gateway, str], ada: Person) -> None:
        gateway, address = wired
        content = b"x" * 1_000_000

        async def answer(_: Request) -> Response:
            return Response(content, media_type="application/json")

        gateway.behind.answer = answer
        async with httpx.AsyncClient(base_url=address, timeout=30) as http:
            said = await http.get("/api/chats", headers={"Authorization": f"Bearer {ada.token}"})

        assert said.content == content

    async def test_an_answer_cut_short_is_a_503(self, wired: tuple[Gateway, str], ada: Person) -> None:
        gateway, address = wired

        async def pieces() -> AsyncIterator[bytes]:
            yield b"{"
            raise ConnectionResetError

        async def answer(_: Request) -> Response:
            return StreamingResponse(pieces(), headers={"Content-Length": "100"}, media_type="application/json")

        gateway.behind.answer = answer
        async with httpx.AsyncClient(base_url=address, timeout=30) as http:
            said = await http.post("/api/search", json={"query": "a"}, headers={"Authorization": f"Bearer {ada.token}"})

        assert (said.status_code, said.json()["code"]) == (503, "service.unavailable")

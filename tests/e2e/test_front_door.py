"""What anybody finds at the door without a login."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from docqa.stack import Stack
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.e2e.person import Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_the_description_is_valid_and_its_pages_come_from_here(stack: Stack) -> None:
    async with Person(stack.url) as anybody:
        openapi = await anybody.gets("/openapi.json")
        assert openapi["openapi"].startswith("3.1.")
        assert [error.message for error in OpenAPIV31SpecValidator(openapi).iter_errors()] == []
        reference = await anybody.http.get("/reference")
        assert (reference.status_code, reference.headers["content-type"].partition(";")[0]) == (200, "text/html")
        assert "//cdn." not in reference.text
        keys = await anybody.gets("/.well-known/jwks.json")
        assert all({"kty": "OKP", "crv": "Ed25519"}.items() <= key.items() and "d" not in key for key in keys["keys"])


async def test_limits_are_told_without_a_login(stack: Stack) -> None:
    async with Person(stack.url) as anybody:
        config = await anybody.gets("/api/config")
    told: dict[str, Any] = {name: config[name] for name in ("max_file_bytes", "max_files", "chat_model")}
    assert told == {"max_file_bytes": 50 * 1024 * 1024, "max_files": 20, "chat_model": "extractive"}
    assert {kind["extension"] for kind in config["accepted"]} == {".pdf", ".txt", ".md"}
    assert config["embedding_model"] == "local"


async def test_a_request_keeps_the_id_it_came_with_if_it_is_one(stack: Stack) -> None:
    async with Person(stack.url) as anybody:
        for sent, kept in [("trace-me.1", True), ("x" * 65, False), ("a b", False), ("<script>", False)]:
            answer = await anybody.http.get("/api/config", headers={"X-Request-ID": sent})
            assert (answer.headers["X-Request-ID"] == sent) is kept, sent


async def test_what_is_not_there_is_a_problem_too(stack: Stack) -> None:
    async with Person(stack.url) as anybody:
        cases = [
            ("GET", "/nothing", 404),
            ("GET", "/api", 404),
            ("GET", "/api/config/", 404),
            ("DELETE", "/api/config", 405),
            ("GET", "/api/auth/login", 405),
            ("OPTIONS", "/api/docs", 405),
            ("TRACE", "/api/docs", 405),
        ]
        for method, path, status in cases:
            answer = await anybody.http.request(method, path, headers={"Origin": "https://evil.example"})
            assert answer.status_code == status, (method, path)
            assert "access-control-allow-origin" not in answer.headers, "no origin is named by default"


async def test_whatever_can_be_got_can_be_looked_at(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        (document,) = await ada.uploads(("looked-at.txt", b"It is looked at.", "text/plain"))
        await ada.waits_for(document["id"], "ready")
        paths = (await ada.gets("/openapi.json"))["paths"]
        ids = {"document_id": document["id"], "chat_id": str(uuid4()), "deletion_id": str(uuid4()), "token": "none"}
        for path in (template.format(**ids) for template, operations in paths.items() if "get" in operations):
            head = await ada.http.head(path)
            async with ada.http.stream("GET", path) as get:
                assert (head.status_code, _lasting(head)) == (get.status_code, _lasting(get)), path
        part = await ada.http.head(f"/api/docs/{document['id']}/raw", headers={"Range": "bytes=3-5"})
        assert (part.status_code, part.headers["content-length"]) == (206, "3")
        assert part.headers["content-range"] == "bytes 3-5/16"
        assert (await ada.http.head("/api/auth/login")).headers["allow"] == "POST"


def _lasting(answer: httpx.Response) -> dict[str, str]:
    """The headers that are the same each time; a body that is streamed has a framing, and without it there is none."""
    each_time = {"x-request-id", "date", "transfer-encoding"}
    return {name: value for name, value in answer.headers.items() if name not in each_time}


@pytest.mark.parametrize("service", ["gateway", "auth", "ingest", "embedder", "qa"])
async def test_every_service_tells_how_it_is(stack: Stack, service: str) -> None:
    async with httpx.AsyncClient(base_url=stack.addresses.url(service)) as probe:
        for path in ("/health/live", "/health/ready"):
            answer = await probe.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            head = await probe.head(path)
            assert (head.status_code, head.headers["content-length"], head.content) == (200, "15", b"")
        metrics = await probe.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert "docqa_http_requests_total" in metrics.text

"""What the API says of itself is true, complete, and served from here."""

import hashlib
from typing import Any

import pytest
from gateway.filetypes import ACCEPTED
from swagger_ui_bundle import swagger_ui_path

from .front_door import Gateway, Person

PROMISED = {
    "/api/auth/signup": {"post"}, "/api/auth/login": {"post"}, "/api/auth/token": {"post"},
    "/api/auth/refresh": {"post"}, "/api/auth/logout": {"post"}, "/api/auth/me": {"get", "delete"},
    "/api/auth/me/delete": {"post"}, "/api/auth/keys": {"get", "post"}, "/api/auth/keys/{key_id}": {"delete"},
    "/.well-known/jwks.json": {"get"}, "/api/upload": {"post"}, "/api/docs": {"get"}, "/api/docs/events": {"get"},
    "/api/docs/{document_id}": {"get", "delete"}, "/api/docs/{document_id}/raw": {"get"},
    "/api/docs/{document_id}/raw-link": {"post"}, "/api/docs/{document_id}/chunks": {"get"},
    "/api/docs/{document_id}/timeline": {"get"}, "/api/docs/{document_id}/reprocess": {"post"},
    "/api/docs/reprocess": {"post"}, "/api/docs/delete": {"post"}, "/api/deletions/{deletion_id}": {"get"},
    "/api/raw/{token}": {"get"}, "/api/ask": {"post"}, "/api/search": {"post"}, "/api/chats": {"get"},
    "/api/chats/{chat_id}": {"get", "patch", "delete"},
    "/api/chats/{chat_id}/messages/{message_id}/stop": {"post"},
    "/api/chats/{chat_id}/messages/{message_id}/feedback": {"post"}, "/api/config": {"get"},
}  # fmt: skip


@pytest.fixture
async def openapi(ada: Person) -> dict[str, Any]:
    answer = await ada.http.get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


async def test_every_promised_route_is_described_and_no_other(openapi: dict[str, Any]) -> None:
    assert {path: set(methods) for path, methods in openapi["paths"].items()} == PROMISED
    assert openapi["openapi"].startswith("3.1")


async def test_every_reference_in_the_description_leads_somewhere(openapi: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert references(openapi)
    for reference in references(openapi):
        node: Any = openapi
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


async def test_operations_have_ids_summaries_and_problems(openapi: dict[str, Any]) -> None:
    operations = [operation for methods in openapi["paths"].values() for operation in methods.values()]

    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)
    for operation in operations:
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert "application/problem+json" in answer["content"]


async def test_bodies_that_others_read_are_described(openapi: dict[str, Any]) -> None:
    for path, model in (("/api/ask", "AskRequest"), ("/api/auth/signup", "SignupRequest")):
        body = openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": f"#/components/schemas/{model}"}
    assert set(openapi["paths"]["/api/upload"]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
    ask = openapi["paths"]["/api/ask"]["post"]["responses"]["200"]["content"]
    assert set(ask) == {"application/json", "text/event-stream"}


async def test_the_reference_needs_nothing_from_elsewhere(ada: Person) -> None:
    page = await ada.http.get("/reference")

    assert page.status_code == 200
    assert "http" not in page.text.replace("<html", "").replace('http-equiv="', "")
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
        answer = await ada.http.get(f"/reference/assets/{asset}")
        assert answer.status_code == 200
    script = await ada.http.get("/reference/start.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "/openapi.json" in script.text


def test_swagger_ui_is_the_one_that_was_looked_at() -> None:
    """It runs where people's tokens are: a new release of its package is compared with the original before use."""
    bundle = (swagger_ui_path / "swagger-ui-bundle.js").read_bytes()

    assert hashlib.sha256(bundle).hexdigest() == "93b7b0862a80e2786f85b560be7693c2344354ffa7e7e224f850a54349724c31"


async def test_the_front_door_says_what_this_is(ada: Person) -> None:
    page = await ada.http.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert "/reference" in page.text
    assert (await ada.http.get("/favicon.ico")).status_code == 204


async def test_the_limits_are_told_without_a_login(gateway: Gateway, ada: Person) -> None:
    del ada.http.headers["Authorization"]

    config = (await ada.http.get("/api/config")).json()

    assert config["max_file_bytes"] == gateway.settings.max_file_bytes
    assert config["max_files"] == 20
    assert {kind["extension"]: kind["media_type"] for kind in config["accepted"]} == ACCEPTED
    assert (config["chat_model"], config["embedding_model"]) == ("extractive", "local")
    assert (config["max_question_characters"], config["max_top_k"], config["default_top_k"]) == (4000, 50, 8)


async def test_other_origins_may_call_only_if_they_are_named(start: Any) -> None:
    origin = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    closed: Gateway = start()
    opened: Gateway = start(cors_origins=("https://app.example.org",))

    refused = await closed.people(None).http.options("/api/upload", headers=origin)
    allowed = await opened.people(None).http.options("/api/upload", headers=origin)

    assert "access-control-allow-origin" not in refused.headers
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.org"


async def test_a_foreign_host_is_never_repeated(ada: Person) -> None:
    answer = await ada.http.get("/api/docs/", headers={"Host": "evil.example.org"})

    assert "evil.example.org" not in answer.text + str(answer.headers)

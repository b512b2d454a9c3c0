"""What the API says of itself is true, complete, and served from here."""

import hashlib
import re
from typing import Any

import pytest
from gateway.filetypes import ACCEPTED
from swagger_ui_bundle import swagger_ui_path

from .front_door import Gateway, Person

PROMISED = {
    "/api/auth/signup": {"post": "sign_up"}, "/api/auth/login": {"post": "log_in"},
    "/api/auth/token": {"post": "log_in_by_form"}, "/api/auth/refresh": {"post": "refresh"},
    "/api/auth/logout": {"post": "log_out"}, "/api/auth/me": {"get": "show_account", "delete": "delete_account"},
    "/api/auth/me/delete": {"post": "delete_account_by_post"},
    "/api/auth/keys": {"get": "list_keys", "post": "make_key"}, "/api/auth/keys/{key_id}": {"delete": "delete_key"},
    "/.well-known/jwks.json": {"get": "show_public_keys"}, "/api/upload": {"post": "upload"},
    "/api/docs": {"get": "list_documents"}, "/api/docs/events": {"get": "follow_documents"},
    "/api/docs/{document_id}": {"get": "show_document", "delete": "delete_document"},
    "/api/docs/{document_id}/raw": {"get": "download"}, "/api/docs/{document_id}/raw-link": {"post": "make_raw_link"},
    "/api/docs/{document_id}/chunks": {"get": "list_chunks"},
    "/api/docs/{document_id}/timeline": {"get": "show_timeline"},
    "/api/docs/{document_id}/reprocess": {"post": "reprocess"}, "/api/docs/reprocess": {"post": "reprocess_failed"},
    "/api/docs/delete": {"post": "delete_documents"}, "/api/deletions/{deletion_id}": {"get": "show_deletion"},
    "/api/raw/{token}": {"get": "show_raw"}, "/api/ask": {"post": "ask"}, "/api/search": {"post": "search"},
    "/api/chats": {"get": "list_chats"},
    "/api/chats/{chat_id}": {"get": "show_chat", "patch": "rename_chat", "delete": "delete_chat"},
    "/api/chats/{chat_id}/messages/{message_id}/stop": {"post": "stop_answer"},
    "/api/chats/{chat_id}/messages/{message_id}/feedback": {"post": "rate_answer"},
    "/api/config": {"get": "show_config"},
}  # fmt: skip
"""What clients that are generated from the description call each operation."""


@pytest.fixture
async def openapi(ada: Person) -> dict[str, Any]:
    answer = await ada.http.get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


async def test_every_promised_route_is_described_and_no_other(openapi: dict[str, Any]) -> None:
    described = {
        path: {method: operation["operationId"] for method, operation in operations.items()}
        for path, operations in openapi["paths"].items()
    }
    assert described == PROMISED
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


def operations_of(openapi: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in openapi["paths"].values() for operation in methods.values()]


async def test_operations_have_summaries_and_ids_that_are_short_and_unique(openapi: dict[str, Any]) -> None:
    operations = operations_of(openapi)
    ids = [operation["operationId"] for operation in operations]

    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(_[a-z]+){0,3}", name)] == []
    assert all(operation["summary"] for operation in operations)


async def test_errors_are_problems_and_nothing_else(openapi: dict[str, Any]) -> None:
    for operation in operations_of(openapi):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}
    upload = openapi["paths"]["/api/upload"]["post"]["responses"]
    for status in ("413", "415", "422"):
        schema = upload[status]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/UploadProblem"}
    assert "rejected" in openapi["components"]["schemas"]["UploadProblem"]["properties"]


async def test_headers_of_answers_are_described(openapi: dict[str, Any]) -> None:
    wanted = {"401": {"WWW-Authenticate"}, "416": {"Content-Range"}, "429": {"Retry-After"}, "503": {"Retry-After"}}
    for operation in operations_of(openapi):
        for status, answer in operation["responses"].items():
            assert wanted.get(status, set()) | {"X-Request-ID"} <= set(answer["headers"])


@pytest.mark.parametrize("path", ["/api/docs/{document_id}/raw", "/api/raw/{token}"])
async def test_files_are_described_as_they_are_sent(openapi: dict[str, Any], path: str) -> None:
    operation = openapi["paths"][path]["get"]
    read = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}

    assert read == {"Range", "If-Range", "If-None-Match"}
    for status in ("200", "206"):
        assert set(operation["responses"][status]["content"]) == set(ACCEPTED.values())
    always = {"X-Request-ID", "ETag", "Accept-Ranges"}
    assert set(operation["responses"]["304"]["headers"]) == always
    assert set(operation["responses"]["200"]["headers"]) == {*always, "Content-Disposition"}
    assert set(operation["responses"]["206"]["headers"]) == {*always, "Content-Disposition", "Content-Range"}


async def test_bodies_that_others_read_are_described(openapi: dict[str, Any]) -> None:
    for path, model in (("/api/ask", "AskRequest"), ("/api/auth/signup", "SignupRequest")):
        body = openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": f"#/components/schemas/{model}"}
    assert set(openapi["paths"]["/api/upload"]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
    ask = openapi["paths"]["/api/ask"]["post"]["responses"]["200"]["content"]
    assert set(ask) == {"application/json", "text/event-stream"}


async def test_bounds_are_described_as_they_are_judged(openapi: dict[str, Any]) -> None:
    def bounds(schema: dict[str, Any]) -> tuple[Any, ...]:
        (text,) = [one for one in schema.get("anyOf", [schema]) if one["type"] == "string"]
        return text.get("minLength"), text.get("maxLength"), text.get("format")

    fields = {
        name: schema["properties"] for name, schema in openapi["components"]["schemas"].items() if fields_of(schema)
    }
    for model, field in (("AskRequest", "question"), ("SearchRequest", "query")):
        assert bounds(fields[model][field]) == (1, 4000, None)
    for model in ("SignupRequest", "LoginRequest"):
        assert bounds(fields[model]["email"]) == (3, 254, "email")
    for model, field in (("SignupRequest", "name"), ("CreateKeyRequest", "name"), ("RenameChatRequest", "title")):
        assert bounds(fields[model][field]) == (1, 200, None)
    assert bounds(fields["LogoutRequest"]["refresh_token"]) == (None, None, "password"), "always 204"
    operation = openapi["paths"]["/api/auth/logout"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/LogoutRequest"}
    key = openapi["paths"]["/api/upload"]["post"]["parameters"][0]
    assert bounds(key["schema"]) == (1, 255, None)


async def test_what_may_be_left_out_has_no_default_and_what_is_always_there_is_required(
    openapi: dict[str, Any],
) -> None:
    schemas = openapi["components"]["schemas"]
    may_be_left_out = {"AskRequest": {"session_id", "document_ids", "top_k"}, "Problem": {"errors"}, "Tokens": set()}

    assert [name for name, schema in schemas.items() for field in fields_of(schema) if "default" in field] == []
    for name, optional in may_be_left_out.items():
        assert set(schemas[name]["properties"]) - set(schemas[name]["required"]) == optional


def fields_of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return list(schema.get("properties", {}).values())


async def test_every_event_of_a_stream_is_described(openapi: dict[str, Any]) -> None:
    follow, ask = openapi["paths"]["/api/docs/events"]["get"], openapi["paths"]["/api/ask"]["post"]
    told = follow["responses"]["200"]["description"]
    said = ask["responses"]["200"]["content"]["text/event-stream"]["schema"]["description"]

    for text, models in (
        (told, {"Document", "Gone", "Problem"}),
        (said, {"AskSession", "AskSources", "AskToken", "Answer", "Problem"}),
    ):
        assert {word for word in re.findall(r"[A-Z]\w+", text) if word in openapi["components"]["schemas"]} == models


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

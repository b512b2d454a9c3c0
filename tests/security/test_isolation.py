"""A never reads B: every route and method of the description, with every kind of id, his and never existing ones."""

import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from docqa.stack import Stack

from tests.e2e.person import Json, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

CANARY = "xylocarp7731"
OF_BOB = f"The {CANARY} of Bob is kept in the seventh greenhouse."
QUESTION = f"Where is the {CANARY} kept?"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
BODIES: Mapping[str, Json] = {
    "/api/auth/me/delete": {"password": "not her password"},  # her own account is to stay
    "/api/auth/me": {"password": "not her password"},
    "/api/docs/reprocess": {"status": "failed"},
    "/api/auth/keys": {"name": "hers"},
    "/api/chats/{chat_id}": {"title": "hers now"},
    "/api/chats/{chat_id}/messages/{message_id}/feedback": {"rating": "down"},
}


@dataclass(frozen=True)
class Two:
    """Two people; Bob has one of everything."""

    ada: Person
    bob: Person
    ids: Mapping[str, str]
    seen_by_bob: Mapping[str, Json]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two(stack: Stack) -> AsyncIterator[Two]:
    async with Person(stack.url) as ada, Person(stack.url) as bob:
        await ada.signs_up()
        await bob.signs_up()
        await ada.is_ready_with(("hers.txt", b"The medlars of Ada are in the cellar.", "text/plain"))
        document, deleted = await bob.is_ready_with(
            (f"{CANARY}.txt", OF_BOB.encode(), "text/plain"), ("old.txt", b"Old things of Bob.", "text/plain")
        )
        answer = await bob.asks(QUESTION)
        key = (await bob.http.post("/api/auth/keys", json={"name": CANARY})).json()
        link = (await bob.http.post(f"/api/docs/{document['id']}/raw-link")).json()
        ids = {
            "document_id": document["id"],
            "deleted_id": deleted["id"],
            "deletion_id": (await bob.deletes(deleted["id"]))["deletion_id"],
            "chat_id": answer["session_id"],
            "message_id": answer["message_id"],
            "key_id": key["id"],
            "user_id": (await bob.gets("/api/auth/me"))["id"],
            "token": link["url"].rpartition("/")[2],
        }
        yield Two(ada, bob, ids, {path: await bob.gets(path) for path in _paths_of(ids)})


def _paths_of(ids: Mapping[str, str]) -> list[str]:
    document = f"/api/docs/{ids['document_id']}"
    return [document, f"{document}/chunks", f"{document}/timeline", f"/api/chats/{ids['chat_id']}", "/api/auth/keys"]


def _every_call(openapi: Json, ids: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Method, template, path with his ids, and the same path with ids that never existed."""
    for template, operations in openapi["paths"].items():
        names = re.findall(r"\{(\w+)\}", template)
        if not names or names == ["token"]:
            continue  # whoever has the link's secret may read: that is what it is for
        for method, kinds in itertools.product(METHODS, itertools.product(ids, repeat=len(names))):
            if method.lower() not in operations:
                continue
            his, never = template, template
            for name, kind in zip(names, kinds, strict=True):
                his = his.replace(f"{{{name}}}", ids[kind])
                never = never.replace(f"{{{name}}}", str(uuid4()))
            yield method, template, his, never


async def test_nobody_elses_id_opens_anything_and_all_are_told_the_same(two: Two) -> None:
    openapi = await two.ada.gets("/openapi.json")
    tried = 0
    of_never: dict[tuple[str, str], tuple[int, str]] = {}
    for method, template, his, never in _every_call(openapi, two.ids):
        body = BODIES.get(template) if method in ("POST", "PATCH") else None
        if (method, template) not in of_never:
            of_never[method, template] = _told(await two.ada.http.request(method, never, json=body))
        answer = await two.ada.http.request(method, his, json=body)
        told = _told(answer)
        assert told[0] in (404, 422), (method, his, answer.text)
        if told[0] == 404:
            assert told == of_never[method, template], (method, his)
        assert CANARY not in answer.text
        tried += 1
    assert tried > 100
    assert {path: await two.bob.gets(path) for path in two.seen_by_bob} == two.seen_by_bob, "and nothing was changed"


async def test_no_list_no_search_and_no_answer_holds_a_word_of_anybody_else(two: Two) -> None:
    openapi = await two.ada.gets("/openapi.json")
    for template, operations in openapi["paths"].items():
        if "{" in template or "get" not in operations or template.endswith("/events"):
            continue
        answer = await two.ada.http.get(template, params={"q": CANARY} if template == "/api/docs" else None)
        assert answer.status_code == 200
        assert CANARY not in answer.text, template
    for path, asked in itertools.product(("/api/ask", "/api/search"), (QUESTION, OF_BOB, CANARY)):
        field = {"/api/ask": "question", "/api/search": "query"}[path]
        answer = await two.ada.http.post(path, json={field: asked, "top_k": 50})
        assert answer.status_code == 200
        assert "greenhouse" not in answer.text
        assert all(source["document_id"] != two.ids["document_id"] for source in _sources(answer.json()))


@pytest.mark.parametrize("kind", ["document_id", "deleted_id", "chat_id", "user_id"])
async def test_ids_within_a_body_are_ids_of_ones_own(two: Two, kind: str) -> None:
    cases: list[tuple[str, Any]] = [
        ("/api/ask", {"question": QUESTION, "document_ids": ["ID"]}),
        ("/api/ask", {"question": QUESTION, "session_id": "ID"}),
        ("/api/search", {"query": QUESTION, "document_ids": ["ID"]}),
        ("/api/docs/delete", {"ids": ["ID"]}),
    ]
    for path, body in cases:
        never = str(uuid4())
        answers = [
            await two.ada.http.post(path, content=json.dumps(body).replace("ID", one)) for one in (two.ids[kind], never)
        ]
        assert _told(answers[0], two.ids[kind]) == _told(answers[1], never), path
        assert "greenhouse" not in answers[0].text


async def test_the_same_bytes_of_two_people_are_two_documents(two: Two) -> None:
    (hers,) = await two.ada.uploads(("mine.txt", OF_BOB.encode(), "text/plain"))
    assert (hers["duplicate"], hers["filename"]) == (False, "mine.txt"), "that somebody has them is not told"
    assert hers["id"] != two.ids["document_id"]
    await two.ada.waits_for(hers["id"], "ready")
    assert {source["document_id"] for source in await two.bob.searches(QUESTION)} == {two.ids["document_id"]}
    await two.ada.deletes(hers["id"])
    assert (await two.bob.http.get(f"/api/docs/{two.ids['document_id']}/raw")).content == OF_BOB.encode()


async def test_what_services_tell_one_another_cannot_be_told_from_outside(two: Two) -> None:
    """Headers and fields that only the gateway may add."""
    headers = {"Docqa-Excluded": "", "Docqa-Live-Version": "9", "X-User-Id": two.ids["user_id"]}
    found = await two.ada.http.post("/api/search", json={"query": QUESTION}, headers=headers)
    assert "greenhouse" not in found.text
    chunks = await two.bob.http.get(f"/api/docs/{two.ids['document_id']}/chunks", headers=headers)
    assert chunks.json() == two.seen_by_bob[f"/api/docs/{two.ids['document_id']}/chunks"]
    for path in ("/internal/keys/exchange", "/internal/indexes", "/internal", "/api/internal/keys/exchange"):
        assert (await two.ada.http.post(path, json={})).status_code == 404


def _told(answer: httpx.Response, *own: str) -> tuple[int, str]:
    """What an answer says, apart from the ids that each has for itself."""
    text = answer.text
    for one in own:
        text = text.replace(one, "ID")
    if "json" not in answer.headers.get("content-type", ""):
        return answer.status_code, text
    content = {name: value for name, value in json.loads(text).items() if name not in ("request_id", "message_id")}
    return answer.status_code, json.dumps(content, sort_keys=True)


def _sources(content: Json) -> list[Json]:
    found: list[Json] = content["sources"] if "sources" in content else content["items"]
    return found

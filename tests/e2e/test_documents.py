"""Documents as they are listed, shown, read and deleted."""

import itertools
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from docqa.stack import Stack

from tests.e2e.person import Json, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

TEXT, PDF = "text/plain", "application/pdf"
PAGES = ["The first page is about rope. " * 30, "The second page is about tar. " * 30]
LOCKED = ("locked.txt", b"   ", TEXT)  # no text in it: it fails by its own fault
NAMES = ["Anchor.txt", "anchor chain.txt", "Boom.txt", "Capstan.txt", "Davit 100%.txt", "Ensign_1.txt", "Zinc.txt"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ada(stack: Stack) -> AsyncIterator[Person]:
    """She has a PDF that is ready, seven texts that are, and one that failed."""
    async with Person(stack.url) as ada:
        await ada.signs_up()
        yield ada


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shelf(ada: Person, pdf: Callable[[list[str]], bytes]) -> Json:
    """Her documents by filename."""
    sent = [("rope.pdf", pdf(PAGES), PDF), *[(name, f"Of {name}.".encode(), TEXT) for name in NAMES], LOCKED]
    for document in await ada.uploads(*sent):
        await ada.follows(document["id"], {"ready", "failed"})
    return {document["filename"]: document for document in (await ada.gets("/api/docs", limit=100))["items"]}


async def _walk(person: Person, **params: Any) -> list[Json]:
    items: list[Json] = []
    cursor: str | None = None
    while True:
        page = await person.gets("/api/docs", **params, **({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= params["limit"]
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


async def test_a_list_is_walked_in_each_order_and_filter(ada: Person, shelf: Json) -> None:
    for sort, key, backwards in [
        ("-created_at", "created_at", True),
        ("created_at", "created_at", False),
        ("filename", "filename", False),
        ("-filename", "filename", True),
    ]:
        for limit in (1, 4, 100):
            items = await _walk(ada, sort=sort, limit=limit)
            assert {item["id"] for item in items} == {item["id"] for item in shelf.values()}
            assert len(items) == len(shelf)
            told = [item[key].casefold() for item in items]
            assert told == sorted(told, reverse=backwards), sort
    counts = {"uploaded": 0, "parsing": 0, "embedding": 0, "ready": 8, "failed": 1, "deleting": 0}
    filters: list[tuple[dict[str, Any], set[str]]] = [
        ({"status": "failed"}, {"locked.txt"}),
        ({"status": ["ready", "failed"]}, set(shelf)),
        ({"status": "deleting"}, set()),
        ({"q": "ANCHOR"}, {"Anchor.txt", "anchor chain.txt"}),
        ({"q": "%"}, {"Davit 100%.txt"}),
        ({"q": "_1"}, {"Ensign_1.txt"}),
        ({"q": "\\"}, set()),
        ({"q": "anchor", "status": "failed"}, set()),
    ]
    for params, names in filters:
        page = await ada.gets("/api/docs", **params)
        assert {item["filename"] for item in page["items"]} == names, params
        assert page["counts"] == counts, "counts ignore filter and page"


async def test_a_cursor_belongs_to_its_order_and_filter(ada: Person, shelf: Json) -> None:
    cursor = (await ada.gets("/api/docs", limit=2))["next_cursor"]
    bad: list[dict[str, Any]] = [
        {"cursor": cursor, "sort": "filename"},
        {"cursor": cursor, "status": "ready"},
        {"cursor": cursor, "q": "a"},
        {"cursor": "garbage"},
        {"cursor": "x" * 5000},
        {"cursor": cursor[:-4] + "AAAA"},
        {"limit": 0},
        {"limit": 101},
        {"limit": -1},
        {"limit": "ten"},
        {"limit": 10**30},
        {"status": "nonsense"},
        {"sort": "size"},
        {"q": "\x00"},
        {"q": "x" * 300},
    ]
    for params in bad:
        answer = await ada.http.get("/api/docs", params=params)
        assert answer.status_code == 422, (params, answer.text)
        assert {error["field"].partition(".")[0] for error in answer.json()["errors"]} <= set(params)
    assert shelf


async def test_a_document_tells_what_it_promises(ada: Person, shelf: Json) -> None:
    rope, locked = shelf["rope.pdf"], shelf["locked.txt"]
    assert rope == await ada.gets(rope["links"]["self"])
    assert (rope["status"], rope["version"], rope["live_version"], rope["pages"]) == ("ready", 1, 1, 2)
    assert rope["chunk_count"] == rope["embedded_count"] > 1
    assert rope["error"] is None
    assert rope["media_type"] == PDF
    times = [rope[name] for name in ("created_at", "updated_at", "last_processed_at")]
    assert all(datetime.fromisoformat(time).utcoffset() is not None and time.endswith("Z") for time in times)
    assert locked["error"]["stage"] == "ingest"
    assert (locked["error"]["code"], locked["error"]["retryable"]) == ("document.no_text", False)
    assert (locked["status"], locked["live_version"]) == ("failed", None)


async def test_raw_bytes_come_whole_or_in_part_and_never_as_a_page(ada: Person, shelf: Json) -> None:
    rope = shelf["rope.pdf"]
    whole = await ada.http.get(rope["links"]["raw"])
    assert (whole.status_code, whole.headers["content-type"]) == (200, PDF)
    assert whole.headers["content-disposition"].startswith("attachment;")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["accept-ranges"] == "bytes"
    size, content = rope["size_bytes"], whole.content
    assert len(content) == size
    for wanted, status, expected in [
        ("bytes=0-0", 206, content[:1]),
        ("bytes=0-", 206, content),
        ("bytes=5-9", 206, content[5:10]),
        ("bytes=-7", 206, content[-7:]),
        (f"bytes={size - 1}-{size + 1000}", 206, content[-1:]),
        (f"bytes=-{size * 2}", 206, content),
        (f"bytes={size}-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-5", 200, content),
        ("bytes=0-1,3-4", 200, content),
        ("lines=1-2", 200, content),
        ("bytes=" + "9" * 5000 + "-", 200, content),
        ("bytes=\u0661-2", 200, content),
    ]:
        headers = [(b"Range", wanted.encode())]
        answer = await ada.http.get(rope["links"]["raw"], headers=headers)
        assert answer.status_code == status, wanted
        if expected is not None:
            assert answer.content == expected, wanted
        if status == 206:
            assert answer.headers["content-range"].endswith(f"/{size}")
        if status == 416:
            assert answer.headers["content-range"] == f"bytes */{size}"
    text = await ada.http.get(shelf["Boom.txt"]["links"]["raw"])
    assert text.headers["content-type"].startswith(TEXT)


async def test_a_link_opens_one_document_in_a_browser_without_a_token(stack: Stack, ada: Person, shelf: Json) -> None:
    rope = shelf["rope.pdf"]
    made = await ada.http.post(f"/api/docs/{rope['id']}/raw-link")
    assert made.status_code == 201, made.text
    left = datetime.fromisoformat(made.json()["expires_at"]) - datetime.now().astimezone()
    assert 800 < left.total_seconds() < 950
    async with httpx.AsyncClient(base_url=stack.url) as browser:
        url = made.json()["url"]
        shown = await browser.get(f"{url}#page=2", headers={"Accept": "text/html,*/*", "Range": "bytes=0-4"})
        assert (shown.status_code, shown.content) == (206, b"%PDF-")
        assert shown.headers["content-disposition"].startswith("inline;")
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert shown.headers["content-type"] == PDF
        assert "x-frame-options" not in shown.headers, "it is for <iframe>"
        for forged in (url[:-1], url + "x", f"/api/raw/{rope['id']}"):
            refused = await browser.get(forged)
            assert (refused.status_code, refused.json()["code"]) == (404, "link.not_found"), forged
        assert (await browser.get(rope["links"]["raw"])).status_code == 401


async def test_chunks_are_the_pages_words_in_order(ada: Person, shelf: Json) -> None:
    rope = shelf["rope.pdf"]
    path, chunks, cursor = rope["links"]["chunks"], [], None
    while True:
        page = await ada.gets(path, limit=1, **({"cursor": cursor} if cursor else {}))
        chunks += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [chunk["ordinal"] for chunk in chunks] == list(range(rope["chunk_count"]))
    assert [chunk["id"] for chunk in chunks] == [f"{rope['id']}:1:{n}" for n in range(rope["chunk_count"])]
    assert {chunk["page"] for chunk in chunks} == {1, 2}
    for chunk in chunks:
        assert len(chunk["text"]) == chunk["end"] - chunk["start"]
        assert ("tar" in chunk["text"]) == (chunk["page"] == 2)
    (boom,) = (await ada.gets(shelf["Boom.txt"]["links"]["chunks"]))["items"]
    assert boom["page"] is None
    never = await ada.http.get(shelf["locked.txt"]["links"]["chunks"])
    assert (never.status_code, never.json()["code"]) == (409, "document.not_ready")
    for params in ({"limit": 0}, {"limit": 101}, {"cursor": "garbage"}, {"cursor": "x" * 5000}):
        assert (await ada.http.get(path, params=params)).status_code == 422, params


async def test_the_timeline_tells_each_step_once_and_in_order(ada: Person, shelf: Json) -> None:
    items = (await ada.gets(shelf["rope.pdf"]["links"]["timeline"]))["items"]
    steps = [(item["event"].removesuffix(".v1"), item["service"]) for item in items]
    told = [step for step in steps if step[0] != "document.embedding_progressed"]
    assert told == [
        ("document.uploaded", "gateway"),
        ("document.parsing_started", "ingest"),
        ("document.chunked", "ingest"),
        ("document.embedded", "embedder"),
        ("document.ready", "qa"),
    ]
    times = [item["at"] for item in items]
    assert times == sorted(times)


async def test_what_cannot_be_done_is_said_in_one_way(ada: Person, shelf: Json) -> None:
    rope = shelf["rope.pdf"]["id"]
    long = {"ids": [str(uuid4()) for _ in range(101)]}
    cases: list[tuple[str, str, object, int, str]] = [
        ("POST", "/api/docs/reprocess", {"status": "ready"}, 422, "request.invalid"),
        ("POST", "/api/docs/reprocess", {}, 422, "request.invalid"),
        ("POST", "/api/docs/reprocess", {"status": "failed", "owner": "me"}, 422, "request.invalid"),
        ("POST", "/api/docs/delete", {"ids": []}, 422, "request.invalid"),
        ("POST", "/api/docs/delete", long, 422, "request.invalid"),
        ("POST", "/api/docs/delete", {"ids": [1]}, 422, "request.invalid"),
        ("POST", "/api/docs/delete", {"ids": "all"}, 422, "request.invalid"),
        ("PATCH", f"/api/docs/{rope}", {"status": "ready", "owner_id": str(uuid4())}, 405, "route.method_not_allowed"),
        ("PUT", f"/api/docs/{rope}", {}, 405, "route.method_not_allowed"),
        ("POST", "/api/docs", {}, 405, "route.method_not_allowed"),
        ("GET", f"/api/docs/{rope}/text", None, 404, "route.not_found"),
        ("GET", "/api/docs/", None, 404, "route.not_found"),
        ("GET", "/internal/keys/exchange", None, 404, "route.not_found"),
        ("GET", "/api/../internal", None, 404, "route.not_found"),
        *[
            (method, path, None, 422, "request.invalid")
            for odd in ("1", "me", "null", "%00", "0" * 37, f"{rope}%20")
            for method, path in (("GET", f"/api/docs/{odd}"), ("DELETE", f"/api/docs/{odd}"))
        ],
        ("GET", f"/api/docs/{uuid4()}", None, 404, "document.not_found"),
        ("GET", "/api/docs/00000000-0000-0000-0000-000000000000", None, 404, "document.not_found"),
        ("GET", f"/api/deletions/{uuid4()}", None, 404, "deletion.not_found"),
    ]
    for method, path, body, status, code in cases:
        answer = await ada.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (method, path, answer.text)
    odd = await ada.http.get("/api/docs", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert "evil.example" not in odd.text
    large = await ada.http.get("/api/docs", headers={"X-Large": "x" * 20_000})
    assert large.status_code == 200
    huge = await ada.http.get("/api/docs", headers={"X-Large": "x" * 65_000})
    assert (huge.status_code, huge.json()["code"]) == (431, "request.headers_too_large")


async def test_a_deletion_is_the_same_until_it_is_complete_and_then_only_its_receipt_is_left(
    stack: Stack, ada: Person, shelf: Json
) -> None:
    (document,) = await ada.uploads(("mast.txt", b"The mast is of pine.", TEXT))
    path = f"/api/docs/{document['id']}"
    first = await ada.deletes(document["id"])  # in whatever state it is
    again = await ada.http.delete(path)
    assert again.status_code in (202, 404)
    if again.status_code == 202:
        assert again.json() == first
    receipt = await ada.receipt(first["deletion_id"])
    assert receipt["document_id"] == document["id"]
    assert set(receipt["stores"]) == {"files", "ingest", "embedder", "qa"}
    assert {store["remaining"] for store in receipt["stores"].values()} == {0}
    for method, gone in itertools.product(("GET", "DELETE"), (path,)):
        assert (await ada.http.request(method, gone)).status_code == 404
    for part in ("raw", "chunks", "timeline"):
        assert (await ada.http.get(f"{path}/{part}")).status_code == 404
    for part in ("reprocess", "raw-link"):
        assert (await ada.http.post(f"{path}/{part}")).status_code == 404
    assert not list((stack.data / "objects").rglob(f"*{document['id']}*/raw"))

    # Several at once, and each id once however often it is named.
    boom, unknown = shelf["Boom.txt"]["id"], str(uuid4())
    answer = await ada.http.post("/api/docs/delete", json={"ids": [boom, unknown, boom]})
    assert answer.status_code == 202
    assert [item["document_id"] for item in answer.json()["items"]] == [boom]
    assert answer.json()["not_found"] == [unknown]
    await ada.receipt(answer.json()["items"][0]["deletion_id"])


async def test_reprocessing_is_for_what_can_be_helped(ada: Person, shelf: Json) -> None:
    rope = shelf["rope.pdf"]
    answer = await ada.http.post("/api/docs/reprocess", json={"status": "failed"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0}), "it failed by its own fault"
    again = await ada.http.post(f"/api/docs/{rope['id']}/reprocess")
    assert (again.status_code, again.json()["version"], again.json()["live_version"]) == (202, 2, 1)
    busy = await ada.http.post(f"/api/docs/{rope['id']}/reprocess")
    assert (busy.status_code, busy.json()["code"]) == (409, "document.busy")
    cursor = (await ada.gets(rope["links"]["chunks"], limit=1))["next_cursor"]
    await ada.waits_for(rope["id"], "ready", version=2)
    stale = await ada.http.get(rope["links"]["chunks"], params={"cursor": cursor})
    assert (stale.status_code, stale.json()["code"]) == (409, "cursor.stale")

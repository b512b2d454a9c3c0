"""The bytes: whole or in part, to the owner or by a link, and to nobody once the document is being deleted."""

from uuid import UUID, uuid4

import httpx
import pytest
from contracts.objects import raw_key
from gateway.closing import CloseAccount
from sqlalchemy import text

from .front_door import Gateway, Person

CONTENT = bytes(range(32, 127)) * 20


@pytest.fixture
async def document(ada: Person) -> UUID:
    return await ada.has_uploaded('Größe "1".txt', CONTENT)


async def test_a_download_is_what_was_uploaded(ada: Person, document: UUID) -> None:
    answer = await ada.http.get(f"/api/docs/{document}/raw")

    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == (
        'attachment; filename="Gr__e \\"1\\".txt"; filename*=UTF-8\'\'Gr%C3%B6%C3%9Fe%20%221%22.txt'
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("Überstunden — ja".encode(), "text/markdown; charset=utf-8"),
        ("Überstunden — ja".encode("cp1252"), "text/markdown"),
        ("Überstunden — ja".encode("utf-16"), "text/markdown"),
        ("No mark before this one.".encode("utf-16-le"), "text/markdown"),
        (b"\xc3\x9c" * 5000, "text/markdown; charset=utf-8"),
    ],
    ids=["utf-8", "windows-1252", "utf-16", "utf-16 without its mark", "utf-8 that is cut within a character"],
)
async def test_of_a_text_in_utf8_that_is_said(ada: Person, content: bytes, kind: str) -> None:
    document = await ada.has_uploaded("a.md", content)

    part = await ada.http.get(f"/api/docs/{document}/raw", headers={"Range": "bytes=1-3"})

    assert part.headers["content-type"] == kind


@pytest.mark.parametrize(
    ("header", "begin", "end"), [("bytes=0-0", 0, 1), ("bytes=100-", 100, None), ("bytes=-10", -10, None)]
)
async def test_a_range_is_a_part(ada: Person, document: UUID, header: str, begin: int, end: int | None) -> None:
    answer = await ada.http.get(f"/api/docs/{document}/raw", headers={"Range": header})

    assert (answer.status_code, answer.content) == (206, CONTENT[begin:end])
    assert answer.headers["content-range"].endswith(f"/{len(CONTENT)}")


async def test_a_range_outside_is_a_416_with_the_size(ada: Person, document: UUID) -> None:
    answer = await ada.http.get(f"/api/docs/{document}/raw", headers={"Range": "bytes=99999-"})

    assert (answer.status_code, answer.json()["code"]) == (416, "range.unsatisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


async def test_a_reader_that_has_it_gets_nothing_again(ada: Person, document: UUID) -> None:
    tag = (await ada.http.get(f"/api/docs/{document}/raw")).headers["etag"]

    same = await ada.http.get(f"/api/docs/{document}/raw", headers={"If-None-Match": f'"x", W/{tag}'})
    part = await ada.http.get(f"/api/docs/{document}/raw", headers={"If-Range": tag, "Range": "bytes=0-1"})
    other = await ada.http.get(f"/api/docs/{document}/raw", headers={"If-Range": '"x"', "Range": "bytes=0-1"})

    assert (same.status_code, same.content) == (304, b"")
    assert (part.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-6"}, {"Range": "bytes=99999-"}, {"If-None-Match": "*"}])
async def test_its_head_is_that_of_the_answer(ada: Person, document: UUID, headers: dict[str, str]) -> None:
    link = (await ada.http.post(f"/api/docs/{document}/raw-link")).json()["url"]
    for path in (f"/api/docs/{document}/raw", link):
        asked = {**headers, "X-Request-ID": "the-same"}
        head, get = await ada.http.head(path, headers=asked), await ada.http.get(path, headers=asked)
        assert (head.status_code, head.headers, head.content) == (get.status_code, get.headers, b"")


async def test_a_link_needs_no_login_and_shows_the_file(gateway: Gateway, ada: Person, document: UUID) -> None:
    link = await ada.http.post(f"/api/docs/{document}/raw-link")
    assert link.status_code == 201

    async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway.app), base_url="http://gateway") as browser:
        whole = await browser.get(link.json()["url"])
        part = await browser.get(link.json()["url"], headers={"Range": "bytes=5-6"})

    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["content-disposition"].startswith("inline")
    assert (part.status_code, part.content) == (206, CONTENT[5:7])


async def test_a_links_secret_is_kept_nowhere(gateway: Gateway, ada: Person, document: UUID) -> None:
    url = (await ada.http.post(f"/api/docs/{document}/raw-link")).json()["url"]

    async with gateway.sessions() as session:
        row = (await session.execute(text("SELECT raw_links::text FROM raw_links"))).scalar_one()
    assert url.rpartition("/")[2] not in row


async def test_a_link_ends(gateway: Gateway, ada: Person, document: UUID) -> None:
    url = (await ada.http.post(f"/api/docs/{document}/raw-link")).json()["url"]
    async with gateway.sessions.begin() as session:
        await session.execute(text("UPDATE raw_links SET expires_at = now()"))

    answer = await ada.http.get(url)

    assert (answer.status_code, answer.json()["code"]) == (404, "link.not_found")
    assert (await ada.http.get("/api/raw/made-up")).status_code == 404


async def test_once_it_is_being_deleted_nothing_of_it_is_served(gateway: Gateway, ada: Person, document: UUID) -> None:
    url = (await ada.http.post(f"/api/docs/{document}/raw-link")).json()["url"]
    await gateway.becomes_ready(ada.id, document)
    await ada.http.delete(f"/api/docs/{document}")

    for path in (f"/api/docs/{document}/raw", f"/api/docs/{document}/chunks", url):
        assert (await ada.http.get(path)).status_code == 404
    assert (await ada.http.post(f"/api/docs/{document}/raw-link")).status_code == 404
    assert (await ada.document(document))["status"] == "deleting"


async def test_a_closed_account_has_no_links(gateway: Gateway, ada: Person, document: UUID) -> None:
    url = (await ada.http.post(f"/api/docs/{document}/raw-link")).json()["url"]
    await CloseAccount(sessions=gateway.sessions)(ada.id, uuid4())

    assert (await ada.http.get(url)).status_code == 404


async def test_bytes_that_are_erased_meanwhile_are_a_404_and_no_broken_answer(
    gateway: Gateway, ada: Person, document: UUID
) -> None:
    await gateway.store.delete(raw_key(ada.id, document))

    assert (await ada.http.get(f"/api/docs/{document}/raw")).status_code == 404

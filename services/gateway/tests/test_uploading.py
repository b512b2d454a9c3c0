"""Uploads: what is taken, what is refused and how, and what a refusal leaves behind, which is nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from chassis.failures import Misconfigured
from contracts.facts import DocumentUploaded
from gateway.closing import CloseAccount
from gateway.deleting import Delete
from messaging.outbox import Outbox
from sqlalchemy import text

from .front_door import Gateway, Person, failed, served

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj <<>> endobj\n%%EOF"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
TEXT = ("notes.txt", b"Some words.", "text/plain")


def codes(answer: httpx.Response) -> list[str]:
    return [refusal["code"] for refusal in answer.json()["rejected"]]


def a_form(*parts: bytes, boundary: str = "xyz") -> dict[str, Any]:
    """A body written by hand, for what no client would send."""
    mark = f"--{boundary}".encode()
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"
    return {"content": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


def a_part(name: str = "files", filename: str | None = "a.txt", content: bytes = b"words") -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'Content-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content


async def test_a_file_is_stored_said_and_shown(gateway: Gateway, ada: Person) -> None:
    answer = await ada.upload(("report.pdf", PDF, "application/pdf"))

    assert answer.status_code == 202
    [document] = answer.json()["documents"]
    assert document["status"] == "uploaded"
    assert document["duplicate"] is False
    assert answer.json()["rejected"] == []
    prefix = f"users/{ada.id}/documents/{document['id']}"
    assert await gateway.objects() == [f"{prefix}/about.json", f"{prefix}/raw"]
    about = json.loads(await gateway.store.read(f"{prefix}/about.json", 0, 1000))
    assert (about["filename"], about["size_bytes"]) == ("report.pdf", len(PDF))
    [fact] = await gateway.said()
    assert isinstance(fact, DocumentUploaded)
    assert (fact.document_id, fact.version) == (UUID(document["id"]), 1)
    assert (await ada.document(fact.document_id))["sha256"] == fact.sha256 == about["sha256"]
    timeline = (await ada.http.get(document["links"]["timeline"])).json()["items"]
    assert [item["event"] for item in timeline] == ["document.uploaded.v1"]


async def test_each_file_is_judged_alone_in_the_order_of_the_parts(gateway: Gateway, ada: Person) -> None:
    answer = await ada.upload(
        ("one.txt", b"one", "text/plain"),
        ("fake.pdf", PNG, "application/pdf"),
        ("two.md", b"# two", "text/markdown"),
        ("empty.txt", b"", "text/plain"),
        ("big.txt", b"x" * 100_001, "text/plain"),
        ("limit.txt", b"x" * 100_000, "text/plain"),
    )

    assert answer.status_code == 202
    assert [document["filename"] for document in answer.json()["documents"]] == ["one.txt", "two.md", "limit.txt"]
    assert codes(answer) == ["upload.unsupported_type", "upload.empty", "upload.too_large"]
    assert len(await gateway.objects()) == 6


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ([("a.txt", b"x" * 100_001, "text/plain"), ("b.txt", b"y" * 200_000, "text/plain")], 413, "upload.too_large"),
        ([("a.pdf", PNG, "application/pdf"), ("b.exe", b"MZ\x00", "")], 415, "upload.unsupported_type"),
        ([("a.txt", PDF, "text/plain")], 415, "upload.unsupported_type"),
        ([("a.svg", b"<svg/>", "image/svg+xml"), ("a.zip", b"PK\x03\x04", "")], 415, "upload.unsupported_type"),
        ([("a.txt", b"", "text/plain")], 422, "upload.nothing_accepted"),
        ([("a.pdf", PNG, ""), ("a.txt", b"x" * 100_001, "text/plain")], 422, "upload.nothing_accepted"),
    ],
)
async def test_where_nothing_is_accepted_the_status_says_why(
    gateway: Gateway, ada: Person, files: list[tuple[str, bytes, str]], status: int, code: str
) -> None:
    answer = await ada.upload(*files)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert [refusal["filename"] for refusal in problem["rejected"]] == [name for name, _, _ in files]
    assert ("errors" in problem) == (status == 422)
    assert await gateway.objects() == []
    assert await gateway.said() == []


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (a_part(name="file"), "upload.unknown_part"),
        (a_part(name=""), "upload.unknown_part"),
        (a_part(filename=None), "upload.no_filename"),
        (a_part(filename=""), "upload.no_filename"),
        (b"\r\nno headers", "upload.unknown_part"),
    ],
)
async def test_a_part_that_is_no_file_is_rejected(gateway: Gateway, ada: Person, part: bytes, code: str) -> None:
    answer = await ada.http.post("/api/upload", **a_form(part))

    assert answer.status_code == 422
    assert codes(answer) == [code]


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        (a_form(), 422, "upload.no_files"),
        ({"content": b"{}", "headers": {"Content-Type": "application/json"}}, 415, "upload.unsupported_body"),
        ({"content": b"x"}, 415, "upload.unsupported_body"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 422, "upload.malformed"),
        ({**a_form(a_part()), "content": b"--xyz\r\nbroken"}, 422, "upload.malformed"),
        ({**a_form(a_part()), "content": a_form(a_part())["content"][:-9]}, 422, "upload.malformed"),
        ({**a_form(a_part()), "content": b""}, 422, "upload.malformed"),
        (a_form(*[a_part()] * 21), 413, "upload.too_many_files"),
        (a_form(*[a_part(name="x")] * 2000), 413, "upload.too_many_files"),
    ],
)
async def test_a_bad_form_gets_a_clear_error_and_leaves_nothing(
    gateway: Gateway, ada: Person, form: dict[str, Any], status: int, code: str
) -> None:
    answer = await ada.http.post("/api/upload", **form)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await gateway.objects() == []
    assert (await ada.http.get("/api/docs")).json()["items"] == []


async def test_a_compressed_body_is_refused(ada: Person) -> None:
    form = a_form(a_part())
    form["headers"]["Content-Encoding"] = "gzip"

    answer = await ada.http.post("/api/upload", **form)

    assert (answer.status_code, answer.json()["code"]) == (415, "upload.unsupported_body")


async def test_a_body_announced_too_large_is_refused_before_it_is_read(gateway: Gateway, ada: Person) -> None:
    form = a_form(a_part())
    form["headers"]["Content-Length"] = str(10**9)

    answer = await ada.http.post("/api/upload", **form)

    assert (answer.status_code, answer.json()["code"]) == (413, "upload.too_large")


async def test_a_body_without_length_is_bounded_all_the_same(gateway: Gateway, ada: Person) -> None:
    async def more_than_announced() -> AsyncIterator[bytes]:
        yield b"--xyz\r\n" + a_part(filename="a.exe")
        for _ in range(60):
            yield b"x" * 50_000

    answer = await ada.http.post(
        "/api/upload", content=more_than_announced(), headers={"Content-Type": "multipart/form-data; boundary=xyz"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "upload.too_large")
    assert await gateway.objects() == []


async def test_without_a_login_nothing_is_read(gateway: Gateway, ada: Person) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"x"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway.app), base_url="http://gateway") as stranger:
        answer = await stranger.post(
            "/api/upload", content=body(), headers={"Content-Type": "multipart/form-data; boundary=xyz"}
        )

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert await gateway.objects() == []


async def test_a_refused_body_is_read_so_that_its_sender_sees_the_answer(gateway: Gateway) -> None:
    form = a_form(a_part(content=b"x" * 2_000_000))
    async with served(gateway.app) as address, httpx.AsyncClient(base_url=address, timeout=30) as stranger:
        answer = await stranger.post("/api/upload", **form)

    assert answer.json()["code"] == "auth.token_invalid"


async def test_a_silent_client_is_given_up(gateway: Gateway, ada: Person) -> None:
    silence = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"--xyz\r\n" + a_part()
        await silence.wait()
        yield b""

    answer = asyncio.create_task(
        ada.http.post("/api/upload", content=body(), headers={"Content-Type": "multipart/form-data; boundary=xyz"})
    )
    await asyncio.wait([answer], timeout=0.2)
    await asyncio.wait([answer], timeout=1.5)
    silence.set()

    assert ((await answer).status_code, (await answer).json()["code"]) == (408, "upload.too_slow")
    assert await gateway.objects() == []


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
async def test_a_client_that_is_gone_leaves_nothing(gateway: Gateway, ada: Person, share: float) -> None:
    form = a_form(a_part(content=b"y" * 90_000), a_part(filename="b.txt", content=b"z" * 90_000))
    head = (
        f"POST /api/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\n"
        f"Content-Type: {form['headers']['Content-Type']}\r\nContent-Length: {len(form['content'])}\r\n\r\n"
    )
    async with served(gateway.app) as address:
        _, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(head.encode() + form["content"][: int(len(form["content"]) * share)])
        await writer.drain()
        writer.transport.abort()

    assert await gateway.objects() == []
    assert (await ada.http.get("/api/docs")).json()["items"] == []


@pytest.mark.parametrize(
    ("sent", "kept"), [("../../x.txt", "x.txt"), ("C:\\a\\b.txt", "b.txt"), ("a\x07b\u202e.txt", "ab.txt")]
)
async def test_hostile_filenames_are_cleaned(ada: Person, sent: str, kept: str) -> None:
    answer = await ada.http.post("/api/upload", **a_form(a_part(filename=sent)))

    assert answer.json()["documents"][0]["filename"] == kept


async def test_the_same_bytes_again_are_the_same_document(gateway: Gateway, ada: Person) -> None:
    first = await ada.has_uploaded("first.txt", b"same")

    answer = await ada.upload(("second.txt", b"same", "text/plain"), ("third.txt", b"same", "text/plain"))

    assert [(one["id"], one["filename"], one["duplicate"]) for one in answer.json()["documents"]] == [
        (str(first), "first.txt", True)
    ] * 2
    assert len(await gateway.said()) == 1
    assert len(await gateway.objects()) == 2


async def test_the_same_bytes_twice_in_one_call_are_one_document(gateway: Gateway, ada: Person) -> None:
    answer = await ada.upload(("a.txt", b"same", "text/plain"), ("b.txt", b"same", "text/plain"))

    first, second = answer.json()["documents"]
    assert first["id"] == second["id"]
    assert (first["filename"], first["duplicate"], second["duplicate"]) == ("a.txt", False, True)
    assert len(await gateway.objects()) == 2


async def test_the_same_bytes_of_somebody_else_are_another_document(gateway: Gateway, ada: Person, bob: Person) -> None:
    hers, his = await ada.has_uploaded(content=b"same"), await bob.has_uploaded(content=b"same")

    assert hers != his


async def test_of_a_race_there_is_one_winner_and_no_orphan(gateway: Gateway, ada: Person) -> None:
    answers = await asyncio.gather(*(ada.upload((f"{i}.txt", b"same", "text/plain")) for i in range(8)))

    documents = [answer.json()["documents"][0] for answer in answers]
    assert len({document["id"] for document in documents}) == 1
    assert sum(not document["duplicate"] for document in documents) == 1
    assert len(await gateway.said(DocumentUploaded)) == 1
    assert len(await gateway.objects()) == 2


async def test_races_over_several_files_do_not_deadlock(gateway: Gateway, ada: Person) -> None:
    files = [(f"{i}.txt", str(i).encode(), "text/plain") for i in range(6)]

    answers = await asyncio.gather(*(ada.upload(*files[shift:], *files[:shift]) for shift in range(6)))

    assert [answer.status_code for answer in answers] == [202] * 6
    assert (await ada.http.get("/api/docs")).json()["counts"]["uploaded"] == 6
    assert len(await gateway.objects()) == 12


async def test_the_same_bytes_as_a_failed_document_process_it_again(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.hear(failed(ada.id, document))

    answer = await ada.upload(TEXT)

    [again] = answer.json()["documents"]
    assert (again["id"], again["duplicate"], again["status"], again["version"]) == (str(document), True, "uploaded", 2)
    assert again["error"] is None
    assert [fact.version for fact in await gateway.said(DocumentUploaded)] == [1, 2]


async def test_the_same_bytes_as_a_document_at_fault_do_not(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.hear(failed(ada.id, document, retryable=False))

    [again] = (await ada.upload(TEXT)).json()["documents"]

    assert (again["status"], again["version"]) == ("failed", 1)


async def test_the_same_bytes_after_a_delete_are_a_new_document(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await ada.http.delete(f"/api/docs/{document}")

    assert await ada.has_uploaded() != document


async def test_uploads_and_deletes_of_the_same_bytes_never_meet_badly(gateway: Gateway, ada: Person) -> None:
    async def again_and_again() -> None:
        for _ in range(5):
            document = await ada.has_uploaded()
            await ada.http.delete(f"/api/docs/{document}")

    await asyncio.gather(*(again_and_again() for _ in range(3)))

    counts = (await ada.http.get("/api/docs")).json()["counts"]
    assert counts["uploaded"] == 0
    assert len(await gateway.objects()) == 2 * counts["deleting"]


async def test_an_upload_never_gets_past_a_closure(gateway: Gateway, ada: Person) -> None:
    """Its token was checked before the account was closed, its rows would have come after."""
    closed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        form = a_form(a_part())["content"]
        yield form[:40]
        await CloseAccount(sessions=gateway.sessions)(ada.id, UUID(int=7))
        closed.set()
        yield form[40:]

    answer = await ada.http.post(
        "/api/upload", content=body(), headers={"Content-Type": "multipart/form-data; boundary=xyz"}
    )

    assert closed.is_set()
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_invalid")
    assert await gateway.objects() == []
    assert await gateway.said(DocumentUploaded) == []


async def test_an_upload_of_what_is_there_already_never_gets_past_a_closure_either(
    gateway: Gateway, ada: Person
) -> None:
    await ada.http.post("/api/upload", **a_form(a_part()))

    async def body() -> AsyncIterator[bytes]:
        form = a_form(a_part())["content"]
        yield form[:40]
        await CloseAccount(sessions=gateway.sessions)(ada.id, UUID(int=7))
        yield form[40:]

    answer = await ada.http.post(
        "/api/upload", content=body(), headers={"Content-Type": "multipart/form-data; boundary=xyz"}
    )

    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_invalid")


class FullStore:
    """A store that has room for so many objects."""

    def __init__(self, gateway: Gateway, room: int) -> None:
        self._inner = gateway.store
        self._room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        if self._room == 0:
            raise Misconfigured("storage.full", "The object store is full.")
        self._room -= 1
        await self._inner.put(key, chunks, size=size)


@pytest.mark.parametrize("room", [0, 1, 3])
async def test_a_full_store_is_a_503_and_leaves_nothing(gateway: Gateway, ada: Person, room: int) -> None:
    gateway.app.state.parts.upload._store = FullStore(gateway, room)

    answer = await ada.upload(TEXT, ("b.txt", b"b", "text/plain"))

    assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
    assert "retry-after" in answer.headers
    assert await gateway.objects() == []


@pytest.fixture
async def alterable(start: Any, database: Any) -> Gateway:
    """A gateway whose database a test may spoil."""
    gateway: Gateway = start(database_url=await database("gateway"))
    return gateway


async def test_a_refused_transaction_leaves_no_object(alterable: Gateway) -> None:
    gateway, ada = alterable, alterable.people(None)
    async with gateway.sessions.begin() as session:
        await session.execute(text("ALTER TABLE document_events ADD CONSTRAINT never CHECK (version < 0)"))

    answer = await ada.upload(TEXT)

    assert answer.status_code == 500
    assert await gateway.objects() == []
    assert (await ada.http.get("/api/docs")).json()["items"] == []


async def test_where_the_database_is_lost_the_objects_wait_for_housekeeping(alterable: Gateway) -> None:
    """Whoever cannot know whether the commit happened must not remove what may have been promised."""
    gateway, ada = alterable, alterable.people(None)
    async with gateway.sessions.begin() as session:
        await session.execute(
            text(
                "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
        )
        await session.execute(
            text("CREATE TRIGGER cut AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION cut()")
        )

    answer = await ada.upload(TEXT)

    assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
    assert len(await gateway.objects()) == 2
    async with gateway.sessions.begin() as session:
        await session.execute(text("DROP TRIGGER cut ON outbox"))
    assert (await ada.upload(TEXT)).status_code == 202


KEY = {"Idempotency-Key": "key-1"}


async def test_the_same_call_with_the_same_key_gives_the_same_answer(gateway: Gateway, ada: Person) -> None:
    files = [TEXT, ("fake.pdf", PNG, "application/pdf")]

    first, second = await ada.upload(*files, **KEY), await ada.upload(*files, **KEY)

    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert len(await gateway.objects()) == 2
    assert len(await gateway.said()) == 1


@pytest.mark.parametrize(
    "other",
    [[("notes.txt", b"Other words.", "text/plain")], [("other.txt", b"Some words.", "text/plain")], [TEXT, TEXT]],
)
async def test_other_content_with_the_same_key_is_refused(
    gateway: Gateway, ada: Person, other: list[tuple[str, bytes, str]]
) -> None:
    await ada.upload(TEXT, **KEY)

    answer = await ada.upload(*other, **KEY)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency.mismatch")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert len(await gateway.objects()) == 2


async def test_a_key_belongs_to_its_owner(ada: Person, bob: Person) -> None:
    await ada.upload(TEXT, **KEY)

    assert (await bob.upload(("b.txt", b"b", "text/plain"), **KEY)).status_code == 202


async def test_of_calls_at_once_with_one_key_one_runs(gateway: Gateway, ada: Person) -> None:
    answers = await asyncio.gather(*(ada.upload(TEXT, **KEY) for _ in range(5)))

    assert {answer.status_code for answer in answers} <= {202, 409}
    for answer in answers:
        assert answer.status_code == 202 or answer.json()["code"] == "idempotency.running"
    assert len({answer.json()["documents"][0]["id"] for answer in answers if answer.status_code == 202}) == 1


async def test_a_refused_call_gives_its_key_back(ada: Person) -> None:
    assert (await ada.upload(("a.png", PNG, "image/png"), **KEY)).status_code == 415

    assert (await ada.upload(TEXT, **KEY)).status_code == 202


async def test_a_key_of_a_gateway_that_died_is_free_once_its_lease_ran_out(gateway: Gateway, ada: Person) -> None:
    async with gateway.sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO idempotency_keys (owner_id, key, claim, leased_until) "
                "VALUES (:owner, 'key-1', gen_random_uuid(), now() + interval '1 minute')"
            ),
            {"owner": ada.id},
        )
    running = await ada.upload(TEXT, **KEY)
    assert (running.status_code, running.json()["code"]) == (409, "idempotency.running")
    assert running.headers["retry-after"]
    async with gateway.sessions.begin() as session:
        await session.execute(text("UPDATE idempotency_keys SET leased_until = now() - interval '1 second'"))

    assert (await ada.upload(TEXT, **KEY)).status_code == 202


async def test_an_answer_is_rendered_again_without_what_was_erased(gateway: Gateway, ada: Person) -> None:
    answer = await ada.upload(TEXT, ("b.txt", b"b", "text/plain"), **KEY)
    document = UUID(answer.json()["documents"][0]["id"])
    deletion = await Delete(sessions=gateway.sessions, outbox=Outbox("gateway")).one(ada.id, document)
    await gateway.is_erased_elsewhere(ada.id, document, deletion.deletion_id)
    async with gateway.sessions.begin() as session:
        await session.execute(text("DELETE FROM documents WHERE id = :id"), {"id": document})

    again = await ada.upload(TEXT, ("b.txt", b"b", "text/plain"), **KEY)

    assert [one["filename"] for one in again.json()["documents"]] == ["b.txt"]


@pytest.mark.parametrize("key", ["", "k" * 256, "é", "a\tb"])
async def test_a_key_that_is_none_is_refused(ada: Person, key: str) -> None:
    answer = await ada.http.post("/api/upload", files=[("files", TEXT)], headers={"Idempotency-Key": key.encode()})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "idempotency.bad_key")

"""What people, and programs, put through the door: each file gets its verdict, and nothing is half done."""

import asyncio
import gzip
import json
import time

import pytest
from docqa.stack import Stack

from tests.e2e import wire
from tests.e2e.person import Json, Person
from tests.e2e.waiting import eventually
from tests.samples import hostile

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

PDF, TEXT, MARKDOWN = "application/pdf", "text/plain", "text/markdown"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)

WRONG_TYPES = [
    ("picture.pdf", PNG, PDF),
    ("letter.txt", hostile.a_pdf(), TEXT),
    ("setup.exe", b"MZ\x90\x00\x03\x00\x00\x00", "application/octet-stream"),
    ("page.html", b"<html><script>alert(1)</script></html>", "text/html"),
    ("page.txt", b"<html><script>alert(1)</script></html>", "text/html"),
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    ("many.zip", b"PK\x03\x04", "application/zip"),
    ("noname", b"text", TEXT),
]


FATES: list[tuple[str, bytes, str, str, set[str]]] = [
    # filename, content, media type, status, codes
    ("header.pdf", hostile.header_only(), PDF, "failed", {"document.corrupt"}),
    ("cut.pdf", hostile.a_pdf()[:300], PDF, "failed", {"document.corrupt", "document.no_text"}),
    ("noise.pdf", hostile.random_after_header(), PDF, "failed", {"document.corrupt"}),
    ("locked.pdf", hostile.encrypted(hostile.a_pdf(), "secret"), PDF, "failed", {"document.encrypted"}),
    ("open.pdf", hostile.encrypted(hostile.a_pdf(), ""), PDF, "ready", set()),
    ("blank.pdf", hostile.raw_pdf(hostile.one_page(hostile.stream(b""))), PDF, "failed", {"document.no_text"}),
    ("cycle.pdf", hostile.page_tree_cycle(), PDF, "any", {"document.corrupt", "document.no_text"}),
    ("count.pdf", hostile.lying_count(), PDF, "any", {"document.corrupt", "document.too_many_pages"}),
    ("half.pdf", hostile.one_broken_page(), PDF, "any", {"document.corrupt"}),
    ("odd.pdf", hostile.odd_characters(), PDF, "ready", set()),
    ("deep.pdf", hostile.nested_arrays(20_000), PDF, "any", {"document.corrupt", "document.no_text"}),
    ("spaces.txt", b" \n\t\n ", TEXT, "failed", {"document.no_text"}),
    ("wide.txt", "Der Schlüssel liegt unter der Fußmatte.".encode("utf-16"), TEXT, "ready", set()),
    ("latin.txt", "Der Schlüssel liegt im Gewächshaus.".encode("latin-1"), TEXT, "ready", set()),
    ("invalid.txt", b"The key lies under \xff\xfe the mat, \xc3\x28 says the note.", TEXT, "ready", set()),
    ("nul.txt", b"The key lies\x00 under the mat, and the note says more of it.", TEXT, "ready", set()),
    ("title.md", b"# Keys\n\nThe key lies under the mat.", MARKDOWN, "ready", set()),
]


async def test_every_file_meets_its_fate_and_keeps_its_place(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        documents = await ada.uploads(*[(name, content, kind) for name, content, kind, *_ in FATES])
        assert [document["filename"] for document in documents] == [name for name, *_ in FATES]

        unlike = []
        for document, (name, _, _, status, codes) in zip(documents, FATES, strict=True):
            end = await ada.follows(document["id"], {"ready", "failed"})
            code = end["error"] and end["error"]["code"]
            fine = status in (end["status"], "any") and (code in codes if code else end["status"] == "ready")
            if not fine or (code and end["error"]["retryable"]):
                unlike.append((name, end["status"], end["error"]))
        assert not unlike


async def test_a_file_of_another_type_is_refused_whatever_it_is_called(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        for file in WRONG_TYPES:
            answer = await ada.http.post("/api/upload", files=[("files", file)])
            assert (answer.status_code, answer.json()["code"]) == (415, "upload.unsupported_type"), file[0]
            assert [refusal["filename"] for refusal in answer.json()["rejected"]] == [file[0]]
        assert (await ada.gets("/api/docs"))["items"] == []


async def test_each_file_is_judged_alone_and_in_its_order(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        sent = [
            ("files", ("one.txt", b"the first", TEXT)),
            ("files", ("empty.txt", b"", TEXT)),
            ("other", ("two.txt", b"not in files", TEXT)),
            ("files", ("three.png", PNG, "image/png")),
            ("files", ("again.txt", b"the first", TEXT)),
            ("files", ("four.md", b"the last", MARKDOWN)),
        ]
        answer = await ada.http.post("/api/upload", files=sent)
        assert answer.status_code == 202
        assert [(document["filename"], document["duplicate"]) for document in answer.json()["documents"]] == [
            ("one.txt", False),
            ("one.txt", True),
            ("four.md", False),
        ]
        assert [(refusal["filename"], refusal["code"]) for refusal in answer.json()["rejected"]] == [
            ("empty.txt", "upload.empty"),
            ("two.txt", "upload.unknown_part"),
            ("three.png", "upload.unsupported_type"),
        ]
        assert sum((await ada.gets("/api/docs"))["counts"].values()) == 2


async def test_what_is_no_upload_gets_a_clear_answer(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        multipart = {"Content-Type": f"multipart/form-data; boundary={wire.BOUNDARY}"}
        whole = wire.form(wire.part(b"a text"))
        twenty_one = wire.form(*[wire.part(b"%d" % n) for n in range(21)])
        cases: list[tuple[str, bytes, dict[str, str], int, str]] = [
            ("no part", wire.END, multipart, 422, "upload.no_files"),
            ("a wrong name", wire.form(wire.part(b"x", name="file")), multipart, 422, "upload.nothing_accepted"),
            ("no bytes", wire.form(wire.part(b"")), multipart, 422, "upload.nothing_accepted"),
            ("no filename", wire.form(wire.part(b"x", filename="")), multipart, 422, "upload.nothing_accepted"),
            ("cut in the middle", whole[:-20], multipart, 422, "upload.malformed"),
            ("no boundary in it", b"a text", multipart, 422, "upload.malformed"),
            ("no boundary named", whole, {"Content-Type": "multipart/form-data"}, 422, "upload.malformed"),
            ("no body", b"", multipart, 422, "upload.malformed"),
            ("JSON", b"{}", {"Content-Type": "application/json"}, 415, "upload.unsupported_body"),
            ("no type", whole, {}, 415, "upload.unsupported_body"),
            ("gzip", gzip.compress(whole), {**multipart, "Content-Encoding": "gzip"}, 415, "upload.unsupported_body"),
            ("21 files", twenty_one, multipart, 413, "upload.too_many_files"),
            ("2000 parts", wire.form(*[wire.part(b"x")] * 2000), multipart, 413, "upload.too_many_files"),
            ("an empty key", whole, {**multipart, "Idempotency-Key": ""}, 422, "request.invalid"),
            ("an endless key", whole, {**multipart, "Idempotency-Key": "k" * 300}, 422, "request.invalid"),
        ]
        for name, body, headers, status, code in cases:
            answer = await ada.http.post("/api/upload", content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code), (name, answer.text)
        assert (await ada.gets("/api/docs"))["items"] == [], "nothing of it was stored"


async def test_the_limit_is_a_limit_however_it_is_approached(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        most = (await ada.gets("/api/config"))["max_file_bytes"]
        large = b"x" * most
        refused = await ada.http.post("/api/upload", files=[("files", ("over.txt", large + b"x", TEXT))])
        assert (refused.status_code, refused.json()["code"]) == (413, "upload.too_large")
        assert refused.json()["rejected"][0]["code"] == "upload.too_large"

        began = time.monotonic()
        announced = await wire.says(stack.url, wire.upload_head(ada, f"Content-Length: {10**13}"), wire.part(b"small"))
        assert announced is not None
        assert announced.status == 413
        assert time.monotonic() - began < 12, "what is announced as too large is not waited for"

        chunked = wire.upload_head(ada, "Transfer-Encoding: chunked")
        small = wire.form(wire.part(b"came in chunks"))
        taken = await wire.says(stack.url, chunked, b"%x\r\n%s\r\n0\r\n\r\n" % (len(small), small))
        assert taken is not None
        assert taken.status == 202, taken

        longer = await wire.says(stack.url, wire.upload_head(ada, f"Content-Length: {len(small) - 30}"), small)
        assert longer is not None
        assert (longer.status, json.loads(longer.text)["code"]) in (
            (422, "upload.malformed"),
            (400, "request.malformed"),  # what follows the announced bytes is no HTTP
        )
        assert len((await ada.gets("/api/docs"))["items"]) == 1

        # As large as may be: it is taken, and what becomes of it is the reader's affair.
        (document,) = await ada.uploads(("most.txt", large, TEXT))
        assert document["size_bytes"] == most
        assert (await ada.http.delete(f"/api/docs/{document['id']}")).status_code == 202


async def test_whoever_leaves_in_the_middle_leaves_nothing(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        body = wire.form(wire.part(b"left in the middle " * 5000), wire.part(b"another"))
        before = _objects(stack)
        for sent in (1, len(body) // 2, len(body) - 5):
            await wire.says(stack.url, wire.upload_head(ada, f"Content-Length: {len(body)}"), body[:sent], cut=True)
        # A key of a call that was never answered is free again.
        key = {"Idempotency-Key": "left"}
        head = wire.upload_head(ada, f"Content-Length: {len(body)}", "Idempotency-Key: left")
        await wire.says(stack.url, head, body[:100], cut=True)
        await eventually(lambda: _accepted(ada, b"after all", key))
        assert [document["filename"] for document in (await ada.gets("/api/docs"))["items"]] == ["after.txt"]
        await eventually(lambda: _only(stack, before, ada))


async def _accepted(person: Person, content: bytes, headers: dict[str, str]) -> bool:
    answer = await person.http.post("/api/upload", files=[("files", ("after.txt", content, TEXT))], headers=headers)
    return answer.status_code == 202


async def _only(stack: Stack, before: set[str], person: Person) -> bool:
    mine = {document["id"] for document in (await person.gets("/api/docs"))["items"]}
    user = (await person.gets("/api/auth/me"))["id"]
    return all(any(one in path for one in mine) for path in _objects(stack) - before if user in path)


def _objects(stack: Stack) -> set[str]:
    return {str(path) for path in (stack.data / "objects").rglob("*") if path.is_file()}


HOSTILE_NAMES = [
    ("../../etc/passwd.txt", "passwd.txt"),
    ("C:\\Windows\\system.txt", "system.txt"),
    ("a\u202egpj.txt", "agpj.txt"),
    ("%0D%0ASet-Cookie: a=b.txt", "Set-Cookie: a=b.txt"),
    ("'; DROP TABLE documents; --.txt", "'; DROP TABLE documents; --.txt"),
    ("<img src=x onerror=alert(1)>.txt", "<img src=x onerror=alert(1)>.txt"),
    ("%22quoted%22.txt", '"quoted".txt'),
    ("r\u00e9sum\u00e9 \u65e5\u672c\u8a9e \U0001f600.txt", "r\u00e9sum\u00e9 \u65e5\u672c\u8a9e \U0001f600.txt"),
    ("x" * 400 + ".txt", "x" * 251 + ".txt"),
    ("{secret} {{7*7}} %s.txt", "{secret} {{7*7}} %s.txt"),
]


async def test_a_filename_is_only_ever_a_string(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        parts = [wire.part(b"%d" % n, filename=sent) for n, (sent, _) in enumerate(HOSTILE_NAMES)]
        answer = await ada.http.post(
            "/api/upload",
            content=wire.form(*parts),
            headers={"Content-Type": f"multipart/form-data; boundary={wire.BOUNDARY}"},
        )
        assert answer.status_code == 202, answer.text
        documents: list[Json] = answer.json()["documents"]
        assert [document["filename"] for document in documents] == [kept for _, kept in HOSTILE_NAMES]
        for document in documents:
            raw = await ada.http.get(document["links"]["raw"])
            assert raw.status_code == 200
            assert "set-cookie" not in raw.headers
            assert raw.headers["content-disposition"].startswith('attachment; filename="')


async def test_the_same_bytes_are_the_same_document_until_it_is_deleted(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        sent = [("first.txt", b"the same bytes", TEXT)]
        answers = await asyncio.gather(*[ada.uploads((f"{n}.txt", b"the same bytes", TEXT)) for n in range(8)])
        (first,) = {document["id"] for (document,) in answers}
        assert [document["duplicate"] for (document,) in answers].count(False) == 1
        (kept,) = (await ada.gets("/api/docs"))["items"]
        await ada.deletes(first)
        (anew,) = await ada.uploads(*sent)
        assert (anew["duplicate"], anew["filename"], anew["id"] != first) == (False, "first.txt", True)
        assert kept["id"] == first


async def test_the_same_call_with_the_same_key_has_the_same_answer(stack: Stack) -> None:
    async with Person(stack.url) as ada, Person(stack.url) as eve:
        await ada.signs_up()
        await eve.signs_up()
        key = {"Idempotency-Key": "a-key"}
        files = [("files", ("once.txt", b"once and for all", TEXT)), ("files", ("no.png", PNG, "image/png"))]
        first = await ada.http.post("/api/upload", files=files, headers=key)
        again = await ada.http.post("/api/upload", files=files, headers=key)
        ids = [[document["id"] for document in answer.json()["documents"]] for answer in (first, again)]
        assert ids[0] == ids[1]
        assert [document["duplicate"] for document in again.json()["documents"]] == [False]
        assert first.json()["rejected"] == again.json()["rejected"]

        other = [("files", ("once.txt", b"something else", TEXT))]
        mismatch = await ada.http.post("/api/upload", files=other, headers=key)
        assert (mismatch.status_code, mismatch.json()["code"]) == (422, "idempotency.mismatch")
        hers = await eve.http.post("/api/upload", files=files, headers=key)
        assert hers.status_code == 202, "a key is its user's own"
        assert hers.json()["documents"][0]["id"] != ids[0][0]

"""What a person at a terminal sees, against a server on a real socket."""

import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

USER = {"id": str(UUID(int=1)), "email": "ada@example.org", "name": None, "created_at": "2026-01-01T00:00:00Z"}
CONFIG = {
    "version": "1",
    "max_file_bytes": 1000,
    "max_files": 2,
    "accepted": [],
    "max_question_characters": 4000,
    "max_top_k": 50,
    "default_top_k": 8,
    "chat_model": "extractive",
    "embedding_model": "local",
}


def tokens(access: str = "access-1", refresh: str = "refresh-1") -> dict[str, Any]:
    return {"user": USER, "access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": 900}


def a_document(number: int = 1, filename: str = "report.pdf", status: str = "ready", **more: Any) -> dict[str, Any]:
    known = {
        "id": str(UUID(int=number)),
        "filename": filename,
        "media_type": "application/pdf",
        "size_bytes": 10,
        "sha256": "0" * 64,
        "status": status,
        "version": 1,
        "live_version": None,
        "pages": 24,
        "chunk_count": 60,
        "embedded_count": 60,
        "error": None,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "last_processed_at": None,
        "links": {"self": "/a", "raw": "/b", "chunks": "/c", "timeline": "/d"},
    }
    return {**known, **more}


def a_source(rank: int, page: int | None, *, cited: bool, filename: str = "report.pdf") -> dict[str, Any]:
    return {
        "rank": rank,
        "document_id": str(UUID(int=1)),
        "filename": filename,
        "version": 1,
        "page": page,
        "chunk_id": "x",
        "start": 0,
        "end": 9,
        "text": "The fact.",
        "score": 0.9,
        "cited": cited,
        "links": {"document": "/a", "raw": "/b"},
    }


def an_answer(text: str, sources: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "answer": text,
        "answered": bool(sources),
        "session_id": str(UUID(int=7)),
        "message_id": str(UUID(int=8)),
        "sources": sources,
        "model": "extractive",
        "usage": None,
        "timings": {},
    }


def event(name: str, data: Any) -> str:
    return f"event: {name}\nid: 1\ndata: {json.dumps(data)}\n\n"


@pytest.fixture
def logged_in(api: Any, docqa: Any) -> Any:
    api.replies("POST /api/auth/login", (200, tokens()))
    assert docqa("login", typed="ada@example.org\na long password\n").exit_code == 0
    return api


def test_login_keeps_tokens_that_only_the_user_can_read(logged_in: Any, tmp_path: Path) -> None:
    assert logged_in.to("/api/auth/login")[0].json == {"email": "ada@example.org", "password": "a long password"}
    file = tmp_path / "config" / "docqa" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["logins"][logged_in.url]["refresh_token"] == "refresh-1"


def test_login_signs_up_who_is_new(api: Any, docqa: Any, problem: Any) -> None:
    api.replies("POST /api/auth/login", (401, problem(401, "auth.bad_credentials")))
    api.replies("POST /api/auth/signup", (201, tokens()))
    ended = docqa("login", "--email", "ada@example.org", typed="a long password\n")
    assert (ended.exit_code, ended.out) == (0, f"Welcome, ada@example.org ({api.url}).\n")


def test_a_wrong_password_is_told_as_such(api: Any, docqa: Any, problem: Any) -> None:
    api.replies("POST /api/auth/login", (401, problem(401, "auth.bad_credentials")))
    api.replies("POST /api/auth/signup", (409, problem(409, "auth.email_taken")))
    ended = docqa("login", "--email", "ada@example.org", typed="not her password\n")
    assert (ended.exit_code, ended.err) == (1, "docqa: The e-mail or the password is wrong.\n")


def test_a_refused_field_is_named(api: Any, docqa: Any, problem: Any) -> None:
    short = [{"field": "password", "code": "string_too_short", "detail": "must have 12 characters or more"}]
    api.replies("POST /api/auth/login", (401, problem(401, "auth.bad_credentials")))
    api.replies("POST /api/auth/signup", (422, problem(422, "request.invalid", errors=short)))
    ended = docqa("login", "--email", "ada@example.org", typed="short\n")
    assert ended.exit_code == 1
    assert "password: must have 12 characters or more" in ended.err


def test_login_without_a_password_does_nothing(api: Any, docqa: Any) -> None:
    ended = docqa("login", "--email", "ada@example.org", typed="")
    assert (ended.exit_code, ended.err) == (1, "docqa: Nothing was given.\n")
    assert api.asked == []


@pytest.mark.parametrize("words", [("ask", "Why?"), ("status",)])
def test_who_is_not_logged_in_is_told_how_to(api: Any, docqa: Any, words: tuple[str, ...]) -> None:
    ended = docqa(*words)
    assert ended.exit_code == 1
    assert "Run `docqa login`, or set DOCQA_API_KEY" in ended.err


def test_a_server_that_is_away_is_told_in_plain_words(docqa: Any, api: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCQA_API_KEY", "dq_key")
    monkeypatch.setenv("DOCQA_URL", "http://127.0.0.1:1")
    ended = docqa("status")
    assert ended.exit_code == 1
    assert "docqa does not answer at http://127.0.0.1:1" in ended.err
    assert "docqa up" in ended.err


def test_something_else_at_that_address_is_no_traceback(docqa: Any, api: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCQA_API_KEY", "dq_key")
    api.replies("GET /api/docs", (200, {"hello": "world"}))
    ended = docqa("status")
    assert ended.exit_code == 1
    assert "Is it docqa?" in ended.err
    api.replies("GET /api/docs", (502, "Bad gateway"))
    assert "http.502" in docqa("status").err
    api.replies("POST /api/ask", (200, {"hello": "world"}))
    assert "Is it docqa?" in docqa("ask", "Why?").err
    api.replies("POST /api/ask", (301, {}))
    assert "http.301" in docqa("ask", "Why?").err


def test_an_answer_that_cannot_be_unpacked_is_no_traceback(docqa: Any, api: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCQA_API_KEY", "dq_key")
    api.sends_too = {"content-encoding": "gzip"}
    api.replies("GET /api/docs", (200, {}))
    ended = docqa("status")
    assert ended.exit_code == 1
    assert ended.err.startswith(f"docqa: docqa does not answer at {api.url} (")


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://xn--"])
def test_what_is_no_address_is_told_as_such(docqa: Any, api: Any, monkeypatch: Any, url: str) -> None:
    monkeypatch.setenv("DOCQA_URL", url)
    ended = docqa("status")
    assert (ended.exit_code, ended.out) == (1, "")
    assert ended.err.startswith(f"docqa: {url} is no address")


@pytest.mark.parametrize("key", ["dq_secret\nx", "dq_secretü"])
def test_what_cannot_be_an_api_key_is_not_repeated(docqa: Any, api: Any, monkeypatch: Any, key: str) -> None:
    monkeypatch.setenv("DOCQA_API_KEY", key)
    ended = docqa("status")
    assert ended.exit_code == 1
    assert ended.err.startswith("docqa: DOCQA_API_KEY is not an API key")
    assert "secret" not in ended.err


def test_an_api_key_may_have_space_around_it(api: Any, docqa: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCQA_API_KEY", " dq_key\n")
    api.replies("GET /api/docs", (200, {"items": [], "next_cursor": None, "counts": {}}))
    assert docqa("status").exit_code == 0
    assert api.asked[0].headers["Authorization"] == "Bearer dq_key"


def test_what_is_no_utf_8_is_not_sent_and_told(logged_in: Any, docqa: Any, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.txt")
    file.write_bytes(b"coffee")
    logged_in.replies("GET /api/config", (200, CONFIG))
    for words in (("ask", "caf\udce9"), ("upload", str(file))):
        ended = docqa(*words)
        assert ended.exit_code == 1
        assert "is no UTF-8 text" in ended.err


def test_a_login_that_cannot_be_kept_says_so(api: Any, docqa: Any, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file, no folder")
    api.replies("POST /api/auth/login", (200, tokens()))
    ended = docqa("login", typed="ada@example.org\na long password\n")
    assert ended.exit_code == 1
    assert ended.err.startswith("docqa: The login cannot be kept in ")


def test_an_api_key_needs_no_login(api: Any, docqa: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCQA_API_KEY", "dq_key")
    api.replies("GET /api/docs", (200, {"items": [], "next_cursor": None, "counts": {}}))
    ended = docqa("status")
    assert (ended.exit_code, ended.out) == (0, "No documents.\n")
    assert api.asked[0].headers["Authorization"] == "Bearer dq_key"


def test_an_expired_token_is_refreshed_once(logged_in: Any, docqa: Any, problem: Any) -> None:
    page = {"items": [a_document()], "next_cursor": None, "counts": {"ready": 1}}
    logged_in.replies("GET /api/docs", (401, problem(401, "auth.token_expired")), (200, page))
    logged_in.replies("POST /api/auth/refresh", (200, tokens("access-2", "refresh-2")))
    assert docqa("status").exit_code == 0
    assert [asked.headers["Authorization"] for asked in logged_in.to("/api/docs")] == [
        "Bearer access-1",
        "Bearer access-2",
    ]
    docqa("status")
    assert len(logged_in.to("/api/auth/refresh")) == 1


def test_a_refreshed_token_is_no_login(logged_in: Any, docqa: Any, monkeypatch: Any, problem: Any) -> None:
    page = {"items": [], "next_cursor": None, "counts": {}}
    logged_in.replies("GET /api/docs", (401, problem(401, "auth.token_expired")), (200, page))
    logged_in.replies("POST /api/auth/refresh", (200, tokens("access-2", "refresh-2")))
    elsewhere = logged_in.url.replace("127.0.0.1", "localhost")
    docqa("login", "--url", elsewhere, typed="ada@example.org\na long password\n")
    assert docqa("status").exit_code == 0
    monkeypatch.delenv("DOCQA_URL")
    docqa("status")
    assert logged_in.asked[-1].headers["Host"] == elsewhere.removeprefix("http://")


def test_a_login_that_cannot_be_refreshed_has_to_be_made_again(logged_in: Any, docqa: Any, problem: Any) -> None:
    logged_in.replies("GET /api/docs", (401, problem(401, "auth.token_expired")))
    logged_in.replies("POST /api/auth/refresh", (401, problem(401, "auth.token_invalid")))
    ended = docqa("status")
    assert (ended.exit_code, ended.err) == (1, "docqa: The login has expired. Run `docqa login` again.\n")


def test_status_lists_every_document(logged_in: Any, docqa: Any) -> None:
    error = {"stage": "ingest", "code": "pdf.encrypted", "detail": "It is encrypted." * 9, "retryable": False}
    counts = {"embedding": 1, "failed": 1}
    embedding = a_document(1, "long [1].pdf", "embedding", embedded_count=5)
    failed = a_document(2, "locked.pdf", "failed", error=error, pages=None, chunk_count=None)
    logged_in.replies(
        "GET /api/docs",
        (200, {"items": [embedding], "next_cursor": "more", "counts": counts}),
        (200, {"items": [failed], "next_cursor": None, "counts": counts}),
    )
    ended = docqa("status", "--only", "failed", "--only", "embedding")
    assert "long [1].pdf" in ended.out
    assert len(ended.out.splitlines()) == len(["headings", "long [1].pdf", "locked.pdf", "", "counts"])
    assert "embedding (5 of 60)" in ended.out
    assert "It is encrypted. (pdf.encrypted)" in ended.out
    assert ended.out.endswith("1 embedding, 1 failed\n")
    assert "cursor=more" in logged_in.asked[-1].path
    assert "status=failed&status=embedding" in logged_in.asked[-1].path


def test_an_answer_is_followed_by_the_pages_it_cites(logged_in: Any, docqa: Any) -> None:
    sources = [a_source(1, 3, cited=True), a_source(2, 9, cited=False), a_source(3, None, cited=True, filename="n.txt")]
    stream = ": heartbeat\n\n" + event("session", {"session_id": str(UUID(int=7)), "message_id": str(UUID(int=8))})
    stream += (
        event("sources", {"items": sources}) + event("token", {"text": "It is "}) + event("token", {"text": "[1]"})
    )
    logged_in.replies("POST /api/ask", (200, stream + event("done", an_answer("It is [1]", sources))))
    ended = docqa("ask", "What is it?", "--top-k", "3", "--document", str(UUID(int=1)), "--session", str(UUID(int=7)))
    assert ended.exit_code == 0
    assert ended.out.startswith("It is [1]\n\n  [1] report.pdf, page 3\n  [3] n.txt\n")
    assert "page 9" not in ended.out
    assert logged_in.asked[-1].json == {
        "question": "What is it?",
        "session_id": str(UUID(int=7)),
        "document_ids": [str(UUID(int=1))],
        "top_k": 3,
    }
    assert logged_in.asked[-1].headers["Accept"] == "text/event-stream"


def test_what_the_documents_do_not_say_is_said_so(logged_in: Any, docqa: Any) -> None:
    logged_in.replies("POST /api/ask", (200, event("done", an_answer("Nothing found.", []))))
    ended = docqa("ask", "Who?")
    assert ended.exit_code == 0
    assert ended.out.startswith("Nothing found.\n")


def test_a_stream_that_expired_before_it_began_is_asked_again(logged_in: Any, docqa: Any, problem: Any) -> None:
    answer = event("token", {"text": "Yes."}) + event("done", an_answer("Yes.", []))
    logged_in.replies("POST /api/ask", (401, problem(401, "auth.token_expired")), (200, answer))
    logged_in.replies("POST /api/auth/refresh", (200, tokens("access-2", "refresh-2")))
    assert docqa("ask", "Is it?").out.startswith("Yes.\n")


@pytest.mark.parametrize("stream", ["error", "cut", "nonsense"])
def test_an_answer_that_breaks_off_is_an_error(logged_in: Any, docqa: Any, problem: Any, stream: str) -> None:
    said = event("token", {"text": "It is"})
    ends = {
        "error": (event("error", problem(504, "provider.timeout", "The model is silent.")), "The model is silent."),
        "cut": ("", "The answer broke off"),
        "nonsense": (event("done", {}), "is not understood by this release"),
    }
    rest, words = ends[stream]
    logged_in.replies("POST /api/ask", (200, said + rest))
    ended = docqa("ask", "What?")
    assert (ended.exit_code, ended.out) == (1, "It is\n")
    assert words in ended.err


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[str]]:
    def make(*names: str) -> list[str]:
        for name in names:
            (tmp_path / name).write_bytes(b"content of " + name.encode())
        return [str(tmp_path / name) for name in names]

    return make


def uploaded(*documents: dict[str, Any], rejected: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"documents": [{**document, "duplicate": False} for document in documents], "rejected": rejected or []}


def accepts(api: Any, *documents: dict[str, Any], rejected: list[dict[str, str]] | None = None) -> None:
    """These documents are uploaded, and are there when they are asked for."""
    api.replies("POST /api/upload", (202, uploaded(*documents, rejected=rejected)))
    for document in documents:
        api.replies(f"GET /api/docs/{document['id']}", (200, document))


def test_uploads_are_followed_until_they_are_ready(logged_in: Any, docqa: Any, files: Any) -> None:
    first, second = a_document(1, "a.pdf", "uploaded"), a_document(2, "b.md", "uploaded")
    stream = event("document", a_document(9, "another.pdf"))
    stream += event("document", {**first, "status": "embedding", "embedded_count": 3})
    stream += event("document", {**first, "status": "ready"})
    later = event("document", {**second, "status": "ready", "pages": None, "chunk_count": 1})
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, first, second)
    logged_in.replies("GET /api/docs/events", (200, stream), (200, later))
    ended = docqa("upload", *files("a.pdf", "b.md"))
    assert ended.exit_code == 0
    assert "✓ a.pdf: ready (24 pages, 60 chunks)" in ended.out
    assert "✓ b.md: ready (1 chunk)" in ended.out
    assert "another.pdf" not in ended.out
    sent = logged_in.to("/api/upload")[0].body
    assert b'name="files"; filename="a.pdf"' in sent
    assert b"content of a.pdf" in sent
    assert b"text/markdown" in sent


def test_files_of_the_same_content_are_one_document(logged_in: Any, docqa: Any, files: Any) -> None:
    document = a_document(1, "a.pdf", "uploaded")
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, document, document)
    ready, failed = ({**document, "status": status} for status in ("ready", "failed"))
    logged_in.replies("GET /api/docs/events", (200, event("document", ready)), (200, event("document", failed)))
    ended = docqa("upload", *files("a.pdf", "b.pdf"))
    assert (ended.exit_code, ended.out) == (
        0,
        "✓ a.pdf: ready (24 pages, 60 chunks), 2 files of the same content\n",
    )
    ended = docqa("upload", *files("a.pdf", "b.pdf"))
    assert (ended.exit_code, ended.out) == (1, "✗ a.pdf: failed, 2 files of the same content\n")
    assert ended.err == "docqa: 2 of 2 could not be processed.\n"


def test_a_name_is_sent_without_control_characters_and_shown_as_it_is(logged_in: Any, docqa: Any, files: Any) -> None:
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, a_document(1, ":smile:[b].pdf"))
    logged_in.replies("GET /api/docs/events", (200, event("document", a_document(1, ":smile:[b].pdf"))))
    ended = docqa("upload", *files("a\tb\n.pdf"))
    assert b'filename="ab.pdf"' in logged_in.to("/api/upload")[0].body
    assert ended.out == "✓ :smile:[b].pdf: ready (24 pages, 60 chunks)\n"


def test_many_files_are_sent_in_several_calls(logged_in: Any, docqa: Any, files: Any) -> None:
    logged_in.replies("GET /api/config", (200, CONFIG))
    logged_in.replies("POST /api/upload", (202, uploaded(a_document(1))), (202, uploaded(a_document(2))))
    ended = docqa("upload", "--no-wait", *files("a.pdf", "b.pdf", "c.pdf"))
    assert ended.exit_code == 0
    assert "2 sent. `docqa status` shows how far they are." in ended.out
    assert len(logged_in.to("/api/upload")) == 2


def test_what_was_rejected_or_failed_is_told_and_counted(logged_in: Any, docqa: Any, files: Any) -> None:
    error = {"stage": "ingest", "code": "pdf.encrypted", "detail": "It is encrypted.", "retryable": False}
    document = a_document(1, "a.pdf", "uploaded")
    rejected = [{"filename": "b.png", "code": "file.type", "detail": "Not a PDF."}]
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, document, rejected=rejected)
    failed = {**document, "status": "failed", "error": error}
    logged_in.replies("GET /api/docs/events", (200, event("document", failed)))
    ended = docqa("upload", *files("a.pdf", "b.png"))
    assert ended.exit_code == 1
    assert "✗ b.png: Not a PDF. (file.type)" in ended.out
    assert "✗ a.pdf: It is encrypted. (pdf.encrypted)" in ended.out
    assert "2 of 2 could not be processed." in ended.err


def test_if_every_file_is_rejected_each_reason_is_told(logged_in: Any, docqa: Any, files: Any, problem: Any) -> None:
    rejected = [{"filename": "b.png", "code": "file.type", "detail": "Not a PDF."}]
    logged_in.replies("GET /api/config", (200, CONFIG))
    logged_in.replies("POST /api/upload", (415, problem(415, "upload.nothing_accepted", rejected=rejected)))
    ended = docqa("upload", *files("b.png"))
    assert ended.exit_code == 1
    assert "✗ b.png: Not a PDF. (file.type)" in ended.out


def test_an_upload_that_is_refused_as_a_whole_is_an_error(logged_in: Any, docqa: Any, files: Any, problem: Any) -> None:
    logged_in.replies("GET /api/config", (200, CONFIG))
    logged_in.replies("POST /api/upload", (503, problem(503, "service.unavailable", "Try again shortly.")))
    ended = docqa("upload", *files("a.pdf"))
    assert (ended.exit_code, ended.err) == (1, "docqa: Try again shortly. (service.unavailable)\n")


def test_a_document_deleted_meanwhile_is_not_waited_for(logged_in: Any, docqa: Any, files: Any) -> None:
    document = a_document(1, "a.pdf", "uploaded")
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, document)
    logged_in.replies("GET /api/docs/events", (200, event("document", {**document, "status": "deleting"})))
    ended = docqa("upload", *files("a.pdf"))
    assert ended.exit_code == 1
    assert "a.pdf: deleted meanwhile" in ended.out


def test_a_document_that_is_gone_when_the_stream_begins_is_not_waited_for(
    logged_in: Any, docqa: Any, files: Any, problem: Any
) -> None:
    document = a_document(1, "a.pdf", "uploaded")
    accepts(logged_in, document)
    logged_in.replies("GET /api/config", (200, CONFIG))
    logged_in.replies(f"GET /api/docs/{document['id']}", (404, problem(404, "document.not_found")))
    logged_in.replies("GET /api/docs/events", (200, ": still here\n\n"))
    ended = docqa("upload", *files("a.pdf"))
    assert ended.exit_code == 1
    assert "a.pdf: deleted meanwhile" in ended.out


def test_a_document_that_goes_is_not_waited_for(logged_in: Any, docqa: Any, files: Any) -> None:
    document, other = a_document(1, "a.pdf", "uploaded"), a_document(2, "b.pdf", "uploaded")
    accepts(logged_in, document)
    logged_in.replies("GET /api/config", (200, CONFIG))
    gone = [event("gone", {"id": each["id"]}) for each in (other, document)]
    logged_in.replies("GET /api/docs/events", (200, "".join(gone)))
    ended = docqa("upload", *files("a.pdf"))
    assert ended.exit_code == 1
    assert "a.pdf: deleted meanwhile" in ended.out


def test_an_event_stream_is_joined_again_when_its_token_expires(
    logged_in: Any, docqa: Any, files: Any, problem: Any
) -> None:
    document = a_document(1, "a.pdf", "uploaded")
    expired = event("error", problem(401, "auth.token_expired"))
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, document)
    ready = event("document", {**document, "status": "ready"})
    logged_in.replies("GET /api/docs/events", (200, expired), (200, ready))
    assert docqa("upload", *files("a.pdf")).exit_code == 0


def test_a_stream_that_ends_in_trouble_is_an_error(logged_in: Any, docqa: Any, files: Any, problem: Any) -> None:
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, a_document(1, "a.pdf", "uploaded"))
    logged_in.replies("GET /api/docs/events", (200, event("error", problem(401, "auth.token_invalid", "Log in."))))
    ended = docqa("upload", *files("a.pdf"))
    assert (ended.exit_code, ended.err) == (1, "docqa: Log in. (auth.token_invalid)\n")


def test_a_file_that_is_not_there_is_named_before_anything_is_sent(logged_in: Any, docqa: Any, tmp_path: Path) -> None:
    asked = len(logged_in.asked)
    ended = docqa("upload", str(tmp_path / "none.pdf"))
    assert (ended.exit_code, ended.err) == (1, f"docqa: There is no file {tmp_path / 'none.pdf'}.\n")
    assert f"{tmp_path} is not a file." in docqa("upload", str(tmp_path)).err
    assert len(logged_in.asked) == asked


def an_index(state: str, done: int, **changes: object) -> dict[str, Any]:
    index = {"index_id": "i2", "generation": 2, "model": "local", "dimension": 384, "state": state}
    return {"items": [{**index, "done": done, "total": 10, **changes}]}


@pytest.fixture
def embedder(api: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DOCQA_OPERATOR_TOKEN", "t0ken")
    return api


def test_reindex_follows_the_new_index_until_it_answers(embedder: Any, docqa: Any) -> None:
    api = embedder
    api.replies("POST /internal/indexes", (202, {"index_id": "i2"}))
    api.replies(
        "GET /internal/indexes", (200, an_index("building", 3)), (200, an_index("active", 10, model="openai:x"))
    )
    ended = docqa("reindex", "--model", "openai:x", "--embedder-url", api.url)
    assert ended.exit_code == 0
    assert ended.out.startswith("Done: 10 chunks with openai:x, generation 2.\n")
    assert "DOCQA_EMBEDDING_MODEL=openai:x from now on" in ended.out
    assert api.asked[0].json == {"model": "openai:x"}
    assert api.asked[0].headers["Authorization"] == "Bearer t0ken"


def test_reindex_says_what_the_embedder_refuses(embedder: Any, docqa: Any, problem: Any) -> None:
    api = embedder
    api.replies("POST /internal/indexes", (409, problem(409, "index.busy", "One is being built.")))
    ended = docqa("reindex", "--embedder-url", api.url)
    assert (ended.exit_code, ended.err) == (1, "docqa: One is being built. (index.busy)\n")


@pytest.mark.parametrize("listed", [{"items": []}, an_index("retired", 3)], ids=["dropped", "called off"])
def test_reindex_gives_up_when_the_index_is_gone(embedder: Any, docqa: Any, listed: dict[str, Any]) -> None:
    api = embedder
    api.replies("POST /internal/indexes", (202, {"index_id": "i2"}))
    api.replies("GET /internal/indexes", (200, listed), (200, an_index("active", 10)))
    assert "is gone" in docqa("reindex", "--embedder-url", api.url).err


def test_reindex_sends_the_dimension_and_says_what_to_start_docqa_with(embedder: Any, docqa: Any) -> None:
    api = embedder
    api.replies("POST /internal/indexes", (202, {"index_id": "i2"}))
    api.replies("GET /internal/indexes", (200, an_index("active", 10, model="openai:x", dimension=32)))
    ended = docqa("reindex", "--model", "openai:x", "--dimension", "32", "--embedder-url", api.url)
    assert api.asked[0].json == {"model": "openai:x", "dimension": 32}
    told = " ".join(ended.out.split())
    assert "Start docqa with DOCQA_EMBEDDING_MODEL=openai:x DOCQA_EMBEDDING_DIMENSION=32 from now on" in told


def test_reindex_tells_how_many_documents_the_model_refuses(embedder: Any, docqa: Any) -> None:
    api = embedder
    api.replies("POST /internal/indexes", (202, {"index_id": "i2"}))
    refusing = an_index("building", 9, refused=1)
    api.replies("GET /internal/indexes", (200, refusing), (200, refusing), (200, an_index("active", 10)))
    assert docqa("reindex", "--embedder-url", api.url).out.count("refuses the text of 1 documents") == 1


def test_reindex_calls_off_what_is_being_built(embedder: Any, docqa: Any) -> None:
    api = embedder
    api.replies("DELETE /internal/indexes/building", (200, an_index("retired", 3)))
    ended = docqa("reindex", "--cancel", "--embedder-url", api.url)
    assert (ended.exit_code, ended.out) == (0, "Called off: local, generation 2.\n")
    assert api.asked[0].headers["Authorization"] == "Bearer t0ken"


def test_an_operators_token_that_cannot_be_sent_is_not_repeated(embedder: Any, docqa: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCQA_OPERATOR_TOKEN", "schlüssel")
    ended = docqa("reindex", "--embedder-url", embedder.url)
    assert (ended.exit_code, ended.err) == (
        1,
        "docqa: DOCQA_OPERATOR_TOKEN is not an operator's token: it has characters that none has.\n",
    )


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:1"])
def test_an_embedder_that_is_not_there_is_told_with_the_option_that_names_it(
    embedder: Any, docqa: Any, url: str
) -> None:
    ended = docqa("reindex", "--embedder-url", url)
    assert (ended.exit_code, ended.out) == (1, "")
    assert url in ended.err
    assert "--embedder-url" in ended.err


def test_reindex_cannot_begin_and_call_off_at_once(embedder: Any, docqa: Any) -> None:
    assert docqa("reindex", "--cancel", "--model", "local", "--embedder-url", embedder.url).exit_code == 2
    assert embedder.asked == []


def test_reindex_needs_a_running_docqa(api: Any, docqa: Any, tmp_path: Path, monkeypatch: Any) -> None:
    ended = docqa("reindex", "--data", str(tmp_path / "none"))
    assert ended.exit_code == 1
    assert "No docqa is running on the data folder" in ended.err
    assert "Set DOCQA_OPERATOR_TOKEN" in docqa("reindex", "--embedder-url", api.url).err
    monkeypatch.setenv("DOCQA_OPERATOR_TOKEN", "t0ken")
    assert "does not answer" in docqa("reindex", "--embedder-url", "http://127.0.0.1:1").err
    api.replies("POST /internal/indexes", (200, ["what?"]))
    assert "is not an embedder" in docqa("reindex", "--embedder-url", api.url).err


def test_an_env_file_speaks_for_what_the_environment_leaves_out(
    api: Any, docqa: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.delenv("DOCQA_URL")
    monkeypatch.setenv("DOCQA_API_KEY", "dq_from_environment")
    (tmp_path / ".env").write_text(f"DOCQA_URL={api.url}\nDOCQA_API_KEY=dq_from_file\nOTHER=1\n")
    api.replies("GET /api/docs", (200, {"items": [], "next_cursor": None, "counts": {}}))
    assert docqa("status").exit_code == 0
    assert api.asked[0].headers["Authorization"] == "Bearer dq_from_environment"


def test_an_env_file_that_is_no_text_is_named(api: Any, docqa: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"DOCQA_URL=\xff")
    ended = docqa("status")
    assert (ended.exit_code, ended.err) == (1, f"docqa: {tmp_path / '.env'} is no UTF-8 text.\n")


def test_a_terminal_without_ticks_is_no_failure(logged_in: Any, docqa: Any, files: Any, monkeypatch: Any) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    logged_in.replies("GET /api/config", (200, CONFIG))
    accepts(logged_in, a_document())
    logged_in.replies("GET /api/docs/events", (200, event("document", a_document())))
    ended = docqa("upload", *files("report.pdf"))
    terminal.flush()
    assert ended.exit_code == 0
    assert terminal.buffer.getvalue() == b"? report.pdf: ready (24 pages, 60 chunks)\n"


def test_help_names_every_command(docqa: Any) -> None:
    text = docqa("--help").out
    for command in ("up", "login", "ask", "upload", "status", "reindex", "dead-letters"):
        assert command in text


def test_at_a_terminal_the_password_is_not_shown_and_typed_twice_for_a_new_account(
    api: Any, problem: Any, tmp_path: Path
) -> None:
    api.replies("POST /api/auth/login", (401, problem(401, "auth.bad_credentials")))
    api.replies("POST /api/auth/signup", (201, tokens()))
    with Terminal("login", "--email", "ada@example.org") as terminal:
        terminal.answer("Password: ", "a long password")
        terminal.answer("type the password again: ", "another password")
        assert terminal.until("differ") == 1
    assert api.to("/api/auth/signup") == []
    with Terminal("login") as terminal:
        terminal.answer("E-mail: ", "ada@example.org")
        terminal.answer("Password: ", "a long password")
        terminal.answer("type the password again: ", "a long password")
        assert terminal.until("Welcome, ada@example.org") == 0
        assert "a long password" not in terminal.shown


class Terminal:
    """The command on a pseudo-terminal, and somebody who types."""

    def __init__(self, *words: str) -> None:
        master, slave = os.openpty()
        self._master = master
        self._process = subprocess.Popen(
            [sys.executable, "-m", "docqa.main", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def answer(self, prompt: str, typed: str) -> None:
        self._read_until(prompt)
        os.write(self._master, typed.encode() + b"\n")

    def until(self, text: str) -> int:
        self._read_until(text)
        return self._process.wait(10)

    def _read_until(self, text: str) -> None:
        while text not in self.shown:
            self.shown += os.read(self._master, 4096).decode()
        _, _, self.shown = self.shown.partition(text)


def test_a_dead_letters_number_is_one_that_a_database_can_hold(docqa: Any, api: Any) -> None:
    ended = docqa("dead-letters", "replay", "--service", "qa", "--id", str(2**63))
    assert ended.exit_code == 2
    assert "--id" in ended.err


def test_the_version_is_told(docqa: Any) -> None:
    assert docqa("--version").out.startswith("docqa ")


def a_process(*words: str, stdout: int | None = None, closed: str = "") -> Any:
    """The command as a process of its own, on the streams that it is given; `closed` are those that it has not."""
    command = [sys.executable, "-m", "docqa.main", *words]
    shell = f'exec "$@" {closed}'
    return subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *command],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def with_answers(logged_in: Any) -> Callable[[str], list[str]]:
    """The words of a command that has something to say to the end."""
    answer = an_answer("The fact. [1]", [a_source(1, 3, cited=True)])
    stream = event("token", {"text": "The fact. [1]"}) + event("done", answer)
    logged_in.replies("POST /api/ask", (200, stream))
    page = {"items": [a_document()], "next_cursor": None, "counts": {"ready": 1}}
    logged_in.replies("GET /api/docs", (200, page))
    return lambda command: ["ask", "Why?"] if command == "ask" else [command]


COMMANDS = ("ask", "status", "--help", "--version")


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_a_full_disk_refuses_is_told(with_answers: Any, command: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = a_process(*with_answers(command), stdout=full.fileno())
    assert (ended.returncode, ended.stderr) == (
        1,
        "docqa: The output cannot be written: No space left on device.\n",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_who_leaves_ends_the_command_in_silence(with_answers: Any, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = a_process(*with_answers(command), stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_without_an_output_a_command_does_its_work(with_answers: Any, command: str) -> None:
    ended = a_process(*with_answers(command), closed=">&-")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_without_an_input_nothing_is_given(api: Any) -> None:
    ended = a_process("login", closed="<&-")
    assert (ended.returncode, ended.stderr) == (1, "docqa: Nothing was given.\n")

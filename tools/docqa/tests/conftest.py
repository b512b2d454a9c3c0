"""A stack whose five services are stand-ins of ten lines, so that what surrounds them can be tested in a second."""

import http.server
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docqa.embedded.postgres import Server
from docqa.main import app

SERVICES = ("auth", "ingest", "embedder", "qa", "gateway")

MAIN = """
import http.server, json, os, signal, subprocess, sys, time
NAME = {name!r}
OWN = "DOCQA_" + NAME.upper() + "_"
mode = os.environ.get(OWN + "MODE", "")
if mode == "refuses":
    sys.exit(NAME + " cannot start, its settings are wrong:\\n  - DOCQA_TYPO is not a setting.")
if mode == "has a child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(os.environ, PID=os.getpid())).encode()
        self.send_response(503 if mode == "never ready" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((os.environ[OWN + "HOST"], int(os.environ[OWN + "PORT"])), Handler).serve_forever()
"""

MIGRATE = """
import os, sys
if os.environ.get("DOCQA_{upper}_MODE") == "cannot migrate":
    sys.exit("no such revision")
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """An environment in which the services are stand-ins; `DOCQA_<SERVICE>_MODE` tells one how to misbehave."""
    packages = tmp_path / "stand-ins"
    for name in SERVICES:
        folder = packages / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "main.py").write_text(MAIN.format(name=name), "utf-8")
        (folder / "migrate.py").write_text(MIGRATE.format(upper=name.upper()), "utf-8")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("DOCQA_")}
    return {**outside, "PYTHONPATH": str(packages)}


@pytest.fixture
def light(stand_ins: dict[str, str], postgres: Server, kafka: str, chroma: str) -> dict[str, str]:
    """The same beside servers that are there already, for tests to which the embedded ones do not matter."""
    databases = {f"DOCQA_{name.upper()}_DATABASE_URL": postgres.url("postgres") for name in SERVICES}
    return {**stand_ins, **databases, "DOCQA_KAFKA": kafka, "DOCQA_CHROMA_URL": chroma}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data of ours"


@pytest.fixture
def left_running(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """The processes at home below the test's folder: every part of a stack is. None may be left in the end."""

    def find() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").resolve().is_relative_to(tmp_path):
                    found.append(int(entry.name))
            except OSError:
                continue
        return [pid for pid in found if pid != os.getpid()]

    yield find
    deadline = time.monotonic() + 10
    while find() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert find() == []


@dataclass(frozen=True)
class Asked:
    """A request that the stand-in of the API got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Reply = tuple[int, Any]


class Api:
    """A server on a real socket that answers what it is told to, in order; the last answer stands."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self.url = ""
        self.sends_too: dict[str, str] = {}

    def replies(self, call: str, *replies: Reply) -> None:
        """`replies("GET /api/docs", (200, {...}), …)`; text is sent as an event stream."""
        method, path = call.split(" ")
        self._replies[method, path] = list(replies)

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        waiting = self._replies.get((asked.method, asked.path.partition("?")[0]), [(404, problem(404, "not_found"))])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def to(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path.partition("?")[0] == path]


def problem(status: int, code: str, detail: str = "What went wrong.", **more: Any) -> dict[str, Any]:
    known = {"type": "about:blank", "title": "t", "status": status, "detail": detail, "code": code, "request_id": "r"}
    return {**known, **more}


@pytest.fixture(name="problem")
def problem_fixture() -> Callable[..., dict[str, Any]]:
    return problem


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """docqa's API as far as a test needs it, and an empty configuration folder of its user."""
    api = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, content = api.answer(Asked(self.command, self.path, dict(self.headers.items()), body))
            text = isinstance(content, str)
            sent = content.encode() if text else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if text else "application/json")
            self.send_header("content-length", str(len(sent)))
            for name, value in api.sends_too.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in [name for name in os.environ if name.startswith("DOCQA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOCQA_URL", api.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    out: str
    err: str


@pytest.fixture
def docqa(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """`docqa("ask", "…")`: the command as the installed script runs it, in this process; `typed` is its stdin."""

    def run(*words: str, typed: str = "") -> Ended:
        monkeypatch.setattr(sys, "argv", ["docqa", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        monkeypatch.setenv("COLUMNS", "200")
        try:
            app()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run

"""A stack whose five services are stand-ins of ten lines, so that what surrounds them can be tested in a second."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docqa.embedded.postgres import Server

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

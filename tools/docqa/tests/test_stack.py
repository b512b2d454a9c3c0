"""What surrounds the services: started in order, kept alive, stopped without a trace."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka.admin import AdminClient
from docqa import ports, probing
from docqa.data_folder import RunningStack
from docqa.embedded.failures import PreloadedUnavailable
from docqa.failing import DataFolderUnusable, NotRunning, PortInUse, ServiceFailed
from docqa.stack import Stack

Left = Callable[[], list[int]]


class Heard:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notices: list[str] = []

    def step(self, name: str) -> "Heard":
        self._name = name
        self.steps.append(name)
        return self

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


async def told(url: str) -> dict[str, Any]:
    """The environment of a stand-in. Raises `ConnectionError` if it is away, or ended while it answered."""
    answer = await probing.ask(url)
    if answer is None or not answer[1]:
        raise ConnectionError(url)
    return json.loads(answer[1])


async def until(holds: Callable[[], Awaitable[bool] | bool], within: float = 20) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                found = holds()
                if found if isinstance(found, bool) else await found:
                    return
            except ConnectionError:
                pass
            await asyncio.sleep(0.02)


def proc(pid: int, name: str) -> str:
    """What the kernel tells of a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes().decode()


def plain(url: str) -> str:
    return url.replace("+asyncpg", "", 1)


async def test_every_service_is_told_where_everything_is(stand_ins, data: Path, left_running: Left) -> None:
    async with Stack(data, user=stand_ins) as stack:
        for name, service in stack.services.items():
            environment = await told(service.url)
            own = f"DOCQA_{name.upper()}_"
            assert environment["DOCQA_AUTH_URL"] == stack.services["auth"].url
            assert environment["DOCQA_OBJECT_STORE"] == (data / "objects").as_uri()
            assert environment[own + "HOST"] == "127.0.0.1"
            connection = await asyncpg.connect(plain(environment[own + "DATABASE_URL"]))
            assert await connection.fetchval("SELECT current_user") == name
            await connection.close()
        topics = AdminClient({"bootstrap.servers": environment["DOCQA_KAFKA"]}).list_topics(timeout=5).topics
        assert {"documents", "users", "indexes"} <= set(topics)
        assert await probing.is_well(f"{environment['DOCQA_CHROMA_URL']}/api/v2/heartbeat")
        assert environment["DOCQA_GATEWAY_QA_URL"] == stack.services["qa"].url
        assert environment["DOCQA_GATEWAY_INGEST_URL"] == stack.services["ingest"].url
        assert left_running()
    assert left_running() == []


async def test_the_gateway_comes_last(light, data: Path) -> None:
    heard = Heard()
    async with Stack(data, user=light, progress=heard):
        assert heard.steps[-1] == "gateway"
        assert set(heard.steps) == {"auth", "ingest", "embedder", "qa", "gateway"}


async def test_a_service_hears_what_the_user_set_for_it_and_not_what_is_others(light, data: Path) -> None:
    user = light | {
        "DOCQA_OPENAI_API_KEY": "sk-x",
        "DOCQA_QA_STATEMENT": "ours",
        "DOCQA_INGEST_PAGES": "7",
        "DOCQA_CHAT_MODEL": "",
    }
    async with Stack(data, user=user) as stack:
        environment = await told(stack.services["qa"].url)
    assert environment["DOCQA_OPENAI_API_KEY"] == "sk-x"
    assert environment["DOCQA_QA_STATEMENT"] == "ours"
    assert "DOCQA_INGEST_PAGES" not in environment
    assert "DOCQA_CHAT_MODEL" not in environment


async def test_servers_of_the_users_own_are_used_instead_of_embedded_ones(
    stand_ins, data: Path, kafka: str, chroma: str, postgres
) -> None:
    user = stand_ins | {"DOCQA_KAFKA": kafka, "DOCQA_CHROMA_URL": chroma, "DOCQA_OBJECT_STORE": "s3://ours"}
    user |= {f"DOCQA_{name}_DATABASE_URL": postgres.url("postgres") for name in ("AUTH", "INGEST", "EMBEDDER", "QA")}
    user["DOCQA_GATEWAY_DATABASE_URL"] = postgres.url("postgres")
    heard = Heard()
    async with Stack(data, user=user, progress=heard) as stack:
        environment = await told(stack.services["qa"].url)
        assert environment["DOCQA_KAFKA"] == kafka
        assert environment["DOCQA_CHROMA_URL"] == chroma
        assert environment["DOCQA_OBJECT_STORE"] == "s3://ours"
        assert environment["DOCQA_QA_DATABASE_URL"] == postgres.url("postgres")
        assert "DOCQA_KAFKA_FETCH_MAX_WAIT_MS" not in environment
    assert not {"PostgreSQL", "broker", "Chroma"} & set(heard.steps)


async def test_a_service_that_is_killed_is_started_again(light, data: Path) -> None:
    heard = Heard()
    async with Stack(data, user=light, progress=heard) as stack:
        service = stack.services["qa"]
        before = (await told(service.url))["PID"]
        os.kill(before, signal.SIGKILL)

        async def another() -> bool:
            return (await told(service.url))["PID"] != before

        await until(another)
        await stack.becomes_ready("qa")
    assert heard.notices[0].startswith("qa ended by signal 9; it is started again in 0.5 s")


async def test_services_are_forked_from_one_process_that_knows_no_secret(light, data: Path) -> None:
    async with Stack(data, user=light | {"DOCQA_OPENAI_API_KEY": "canary"}) as stack:
        pids = [(await told(service.url))["PID"] for service in stack.services.values()]
        (parent,) = {int(proc(pid, "stat").rpartition(")")[2].split()[1]) for pid in pids}
        assert "docqa.embedded.preloaded" in proc(parent, "cmdline")
        assert "DOCQA" not in proc(parent, "environ")
        assert [proc(pid, "cmdline").rstrip("\0") for pid in pids] == [
            f"docqa {name} ({name}.main)" for name in stack.services
        ]


async def test_when_the_process_they_are_forked_from_dies_all_of_them_come_back(light, data: Path) -> None:
    async with Stack(data, user=light) as stack:
        before = {name: (await told(service.url))["PID"] for name, service in stack.services.items()}
        os.kill(int(proc(before["qa"], "stat").rpartition(")")[2].split()[1]), signal.SIGKILL)

        async def all_anew() -> bool:
            return all([(await told(service.url))["PID"] != before[name] for name, service in stack.services.items()])

        await until(all_anew)


async def test_shared_libraries_that_cannot_be_loaded_are_told_of(light, data: Path, left_running: Left) -> None:
    broken = data.parent / "broken"
    broken.mkdir()
    (broken / "uvloop.py").write_text("raise ImportError('uvloop was built for another Python')", "utf-8")
    with pytest.raises(PreloadedUnavailable, match=r"forked from ended .*preloaded\.log"):
        await Stack(data, user=light | {"PYTHONPATH": f"{broken}:{light['PYTHONPATH']}"}).start()
    assert "another Python" in (data / "logs" / "preloaded.log").read_text("utf-8")
    assert left_running() == []


async def test_what_a_killed_service_had_started_goes_with_it(light, data: Path, left_running: Left) -> None:
    user = light | {"DOCQA_INGEST_MODE": "has a child"}
    async with Stack(data, user=user) as stack:
        child = stack.services["ingest"].child
        assert child is not None
        family = [pid for pid in left_running() if os.getpgid(pid) == child.pid]
        assert len(family) == 2
        stack.kill_service("ingest")
        await until(lambda: not set(family) & set(left_running()))


async def test_when_the_broker_dies_every_service_hears_of_the_new_one(stand_ins, data: Path) -> None:
    heard = Heard()
    async with Stack(data, user=stand_ins, progress=heard) as stack:
        assert stack.broker is not None
        assert stack.broker.child is not None
        old = stack.addresses.kafka
        stack.broker.child.kill()

        async def all_moved() -> bool:
            heard_of = [(await told(service.url))["DOCQA_KAFKA"] for service in stack.services.values()]
            return all(address != old for address in heard_of) and stack.addresses.kafka == heard_of[0]

        await until(all_moved)
        topics = AdminClient({"bootstrap.servers": stack.addresses.kafka}).list_topics(timeout=5).topics
        assert len(topics["documents"].partitions) == 24
        await until(lambda: "everything is ready again" in heard.notices)


async def test_when_postgresql_dies_it_comes_back_with_its_data(stand_ins, data: Path) -> None:
    async with Stack(data, user=stand_ins) as stack:
        url = plain(stack.addresses.databases["qa"])
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        assert stack.postgres is not None
        assert stack.postgres.child is not None
        stack.postgres.child.kill()

        async def answers() -> bool:
            try:
                again = await asyncpg.connect(url)
            except (OSError, asyncpg.PostgresError):
                return False
            assert await again.fetchval("SELECT number FROM kept") == 7
            await again.close()
            return True

        await until(answers)
        connection.terminate()


async def test_data_outlives_the_stack(stand_ins, data: Path) -> None:
    async with Stack(data, user=stand_ins) as stack:
        connection = await asyncpg.connect(plain(stack.addresses.databases["qa"]))
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        await connection.close()
    async with Stack(data, user=stand_ins) as stack:
        connection = await asyncpg.connect(plain(stack.addresses.databases["qa"]))
        assert await connection.fetchval("SELECT number FROM kept") == 7
        await connection.close()


async def test_two_stacks_run_side_by_side(light, tmp_path: Path) -> None:
    async with Stack(tmp_path / "a", user=light) as one, Stack(tmp_path / "b", user=light) as other:
        assert (await told(one.url))["PID"] != (await told(other.url))["PID"]


async def test_a_data_folder_serves_one_stack_at_a_time(light, data: Path, left_running: Left) -> None:
    async with Stack(data, user=light) as running:
        with pytest.raises(DataFolderUnusable, match=f"another docqa up is using it .process {os.getpid()}"):
            await Stack(data, user=light).start()
        assert (await told(running.url))["PID"]


async def test_a_stack_that_runs_already_is_named_rather_than_its_port(light, data: Path, left_running: Left) -> None:
    async with Stack(data, user=light) as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(DataFolderUnusable, match=f"docqa runs on it at {running.url}"):
            await Stack(data, port=port, user=light).start()
        assert (await told(running.url))["PID"]


@pytest.mark.parametrize("folder", ["/dev/null/data", "/proc/data"])
async def test_a_data_folder_that_cannot_be_written_is_named(stand_ins, folder: str) -> None:
    with pytest.raises(DataFolderUnusable, match=r"cannot be used: .*--data or DOCQA_DATA"):
        await Stack(Path(folder), user=stand_ins).start()


async def test_a_port_in_use_is_named_before_anything_starts(stand_ins, data: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"Port {port} .*DOCQA_PORT"):
            await Stack(data, port=port, user=stand_ins).start()
    assert data not in list(data.parent.iterdir())


async def test_a_port_whose_last_connections_linger_is_free(light, data: Path) -> None:
    port = ports.free(1)[0]
    for _ in range(2):
        async with Stack(data, port=port, user=light) as stack:
            assert stack.url == f"http://127.0.0.1:{port}"
            with socket.create_connection(("127.0.0.1", port)) as left_open:
                left_open.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert left_open.recv(1)


async def test_a_service_that_refuses_its_settings_is_quoted(light, data: Path, left_running: Left) -> None:
    with pytest.raises(ServiceFailed) as failed:
        await Stack(data, user=light | {"DOCQA_EMBEDDER_MODE": "refuses"}).start()
    assert "embedder ended with exit code 1" in str(failed.value)
    assert "DOCQA_TYPO is not a setting." in str(failed.value)
    assert str(data / "logs" / "embedder.log") in str(failed.value)
    assert left_running() == []


async def test_a_migration_that_fails_is_quoted(light, data: Path, left_running: Left) -> None:
    with pytest.raises(ServiceFailed, match=r"(?s)auth could not migrate its database.*no such revision"):
        await Stack(data, user=light | {"DOCQA_AUTH_MODE": "cannot migrate"}).start()
    assert left_running() == []


async def test_a_service_that_is_never_ready_is_given_up(light, data: Path, left_running: Left) -> None:
    with pytest.raises(ServiceFailed, match="qa was not ready within 1 s"):
        await Stack(data, user=light | {"DOCQA_QA_MODE": "never ready"}, ready_within=1).start()
    assert left_running() == []


async def test_a_start_that_is_broken_off_leaves_nothing(light, data: Path, left_running: Left) -> None:
    starting = asyncio.create_task(Stack(data, user=light | {"DOCQA_QA_MODE": "never ready"}).start())
    await until((data / "logs" / "qa.log").exists)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert left_running() == []


async def test_a_running_stack_can_be_found_by_its_folder(light, data: Path) -> None:
    with pytest.raises(NotRunning):
        RunningStack.find(data)
    async with Stack(data, user=light) as stack:
        found = RunningStack.find(data)
        assert found.url == stack.url
        assert found.services["embedder"] == stack.services["embedder"].url
        assert found.databases == stack.addresses.databases
        assert (data / "state.json").stat().st_mode & 0o077 == 0
    with pytest.raises(NotRunning):
        RunningStack.find(data)


async def test_logs_of_the_last_runs_are_kept(light, data: Path) -> None:
    for _ in range(2):
        async with Stack(data, user=light):
            pass
    assert {"qa.log", "qa.log.1"} <= {file.name for file in (data / "logs").iterdir()}


async def test_stopping_is_quick_also_when_a_service_is_frozen(light, data: Path) -> None:
    async with Stack(data, user=light) as stack:
        child = stack.services["qa"].child
        assert child is not None
        child.send(signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < 10


async def test_a_second_stop_ends_at_once(light, data: Path, left_running: Left) -> None:
    stack = Stack(data, user=light | {"DOCQA_QA_MODE": "deaf"})
    await stack.start()
    stopping = asyncio.create_task(stack.stop())
    await asyncio.sleep(0)
    stack.kill()
    await asyncio.wait_for(stopping, 5)
    assert left_running() == []


async def test_a_stack_that_was_stopped_can_be_started_again(light, data: Path) -> None:
    stack = Stack(data, port=ports.free(1)[0], user=light)
    for _ in range(2):
        async with stack:
            assert (await told(stack.url))["PID"]

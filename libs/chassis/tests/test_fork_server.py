"""A fork server and its client: what is forked does its work, is told of, and never outlives what brought it forth."""

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from chassis import fork_client
from chassis.fork_client import ForkClient, ForkServerGone
from chassis.fork_server import ForkServer

PROGRAM = """
import os, subprocess, sys, time
from chassis.fork_server import ForkServer, die_with_parent

def become(order):
    if order == "nothing":
        return
    if order == "raise":
        raise ValueError("an order of no use")
    if order == "listen":
        print("heard", sys.stdin.read(), flush=True)
    elif order == "leave":
        os.setsid()
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    elif order == "sleep":
        os.setsid()
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    else:
        sys.exit(order)

die_with_parent(int(sys.argv[1]))
ForkServer(become).run()
"""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ForkClient]:
    client = await started(tmp_path)
    yield client
    await client.stop()


async def started(folder: Path, program: str = PROGRAM, **more: Any) -> ForkClient:
    return await ForkClient.start([sys.executable, "-c", program], environment=os.environ, folder=folder, **more)


def at_home(folder: Path) -> set[int]:
    """The processes whose working directory is `folder`: all that a fork server brings forth."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").resolve() == folder:
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - it is the kernel that is asked
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("order", "status"), [("nothing", 0), (0, 0), (7, 7), ("raise", 1)])
async def test_a_child_ends_as_a_program_does(client: ForkClient, order: Any, status: int) -> None:
    child = await client.fork(order)
    ended = await child.ended()

    assert ended.status == status
    assert ended.peak > 1 << 20
    assert child.outcome == ended


async def test_many_at_once_are_told_apart(client: ForkClient) -> None:
    children = await asyncio.gather(*(client.fork(number) for number in range(20)))

    assert len({child.pid for child in children}) == 20
    assert [(await child.ended()).status for child in children] == list(range(20))


async def test_a_child_hears_no_orders_and_gives_no_answers(client: ForkClient) -> None:
    listening = await client.fork("listen")

    assert (await listening.ended()).status == 0
    assert (await (await client.fork(3)).ended()).status == 3


async def test_a_child_can_be_sent_a_signal_and_be_killed(client: ForkClient, tmp_path: Path) -> None:
    asked, killed = await client.fork("sleep"), await client.fork("sleep")
    await until(lambda: len(at_home(tmp_path)) == 5)
    asked.send(signal.SIGTERM)
    killed.kill()

    assert (await asked.ended()).status == -signal.SIGTERM
    assert (await killed.ended()).status == -signal.SIGKILL
    await until(lambda: at_home(tmp_path) == {client.pid})
    asked.send(signal.SIGTERM)
    killed.kill()


async def test_what_a_child_leaves_behind_goes_with_it(client: ForkClient, tmp_path: Path) -> None:
    assert (await (await client.fork("leave")).ended()).status == 0
    await until(lambda: at_home(tmp_path) == {client.pid})


async def test_who_is_no_longer_waited_for_goes_on(client: ForkClient) -> None:
    child = await client.fork("sleep")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(child.ended(), 0.01)

    assert child.outcome is None
    child.kill()
    assert (await child.ended()).status == -signal.SIGKILL


async def test_a_child_that_nobody_wants_any_more_is_not_left(client: ForkClient, tmp_path: Path) -> None:
    forking = asyncio.create_task(client.fork("sleep"))
    await asyncio.sleep(0)
    forking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forking

    assert (await (await client.fork(0)).ended()).status == 0
    await until(lambda: at_home(tmp_path) == {client.pid})


async def test_when_the_server_dies_so_do_its_children(client: ForkClient) -> None:
    child = await client.fork("sleep")
    os.kill(client.pid, signal.SIGKILL)

    assert (await child.ended()).status == -signal.SIGKILL
    await until(lambda: not Path(f"/proc/{child.pid}").exists())
    assert not client.is_alive
    with pytest.raises(ForkServerGone):
        await client.fork(0)


async def test_who_waits_for_a_child_of_a_server_that_dies_is_told(client: ForkClient) -> None:
    os.kill(client.pid, signal.SIGSTOP)
    forking = asyncio.create_task(client.fork("sleep"))
    await asyncio.sleep(0)
    os.kill(client.pid, signal.SIGKILL)

    with pytest.raises(ForkServerGone):
        await forking


async def test_nothing_is_left_when_it_is_stopped(tmp_path: Path) -> None:
    client = await started(tmp_path)
    await client.fork("sleep")
    await client.stop()

    await until(lambda: at_home(tmp_path) == set())


async def test_a_server_that_hears_nothing_is_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_client, "_STOP_SECONDS", 0.1)
    client = await started(tmp_path)
    os.kill(client.pid, signal.SIGSTOP)
    await client.stop()

    assert at_home(tmp_path) == set()


@pytest.mark.parametrize("program", ["import sys; sys.exit(3)", "import time; time.sleep(600)"])
async def test_a_server_that_does_not_come_up_is_told_of(tmp_path: Path, program: str) -> None:
    with pytest.raises(ForkServerGone):
        await started(tmp_path, program, within=0.5)

    assert at_home(tmp_path) == set()


class Pipes:
    """What a client has of its server."""

    def __init__(self) -> None:
        self.orders, self._orders = os.pipe()
        self._answers, self.answers = os.pipe()
        self._heard = os.fdopen(self._answers, "rb")

    def order(self, *orders: dict[str, object]) -> None:
        os.write(self._orders, b"".join(json.dumps(order).encode() + b"\n" for order in orders))

    def answer(self) -> dict[str, int]:
        answer: dict[str, int] = json.loads(self._heard.readline())
        return answer

    def end(self) -> None:
        os.close(self._orders)

    def close(self) -> None:
        self._heard.close()
        for descriptor in (self.orders, self.answers):
            os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    handler = signal.getsignal(signal.SIGCHLD)
    yield pipes
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, handler)
    gc.unfreeze()
    pipes.close()


def serve(pipes: Pipes, talk: Callable[[], None]) -> None:
    """A server in this process, until the talk with it ends."""

    def become(order: Any) -> None:
        os.close(pipes._orders)  # whose other end is in the same process only here
        signal.pause() if order == "wait" else os._exit(order)

    def play() -> None:
        try:
            talk()
        finally:
            pipes.end()

    playing = Thread(target=play)
    playing.start()
    ForkServer(become, orders=pipes.orders, answers=pipes.answers).run()
    playing.join()


def test_it_says_when_it_is_ready_when_a_child_began_and_how_it_ended(pipes: Pipes) -> None:
    heard: list[dict[str, int]] = []

    def talk() -> None:
        heard.append(pipes.answer())
        pipes.order({"id": 7, "order": 5})
        heard.extend(pipes.answer() for _ in range(2))

    serve(pipes, talk)
    assert heard[0] == {"id": 0}
    assert heard[1].keys() == {"id", "pid"}
    assert (heard[2]["id"], heard[2]["status"]) == (7, 5)
    assert heard[2]["peak"] > 1 << 20


def test_what_becomes_of_a_child_can_be_ordered(pipes: Pipes) -> None:
    heard: list[dict[str, int]] = []

    def talk() -> None:
        pipes.order({"id": 1, "order": "wait"}, {"id": 1, "kill": True}, {"id": 2, "kill": True})
        heard.extend(pipes.answer() for _ in range(3))
        pipes.order({"id": 3, "order": "wait"}, {"id": 3, "signal": signal.SIGUSR1}, {"id": 1, "signal": 9})
        heard.extend(pipes.answer() for _ in range(2))

    serve(pipes, talk)
    assert [(said["id"], said.get("status")) for said in heard] == [
        (0, None),
        (1, None),
        (1, -signal.SIGKILL),
        (3, None),
        (3, -signal.SIGUSR1),
    ]


def test_when_its_orders_end_so_do_its_children(pipes: Pipes) -> None:
    children: list[int] = []

    def talk() -> None:
        pipes.order({"id": 1, "order": "wait"})
        pipes.answer()
        children.append(pipes.answer()["pid"])

    serve(pipes, talk)
    assert not Path(f"/proc/{children[0]}").exists()

"""A fork server: it has loaded what its children need, so that a child is a fork away and shares that memory with it.

Orders are read from standard input, a JSON object a line: `{"id": 7, "order": …}` asks for a child,
`{"id": 7, "signal": 15}` sends it a signal, `{"id": 7, "kill": true}` ends it and all it has started. On standard
output it says `{"id": 7, "pid": 123}` when a child has begun, and `{"id": 7, "status": …, "peak": …}` when it has
ended: its exit code, negative for a signal, and the most bytes of memory it ever held. Before all that, `{"id": 0}`
says that everything is loaded. Once standard input ends, so does everything here.
"""

import ctypes
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 65_536


class ForkServer:
    """Starts, ends and reaps children. One thread, no event loop: it forks.

    `become` is what a child does with its order; when it returns, or raises, the child ends as a program does.
    """

    def __init__(self, become: Callable[[Any], None], *, orders: int = 0, answers: int = 1) -> None:
        self._become = become
        self._orders = orders
        self._answers = answers
        self._children: dict[int, int] = {}
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> None:
        """Serve until the orders end. Raises `SystemExit` in a child that is done."""
        # What is loaded by now is shared with every child: looking through it for garbage would only copy it.
        gc.collect()
        gc.freeze()
        os.set_blocking(self._wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write)
        self._say(0)
        pending = b""
        while True:
            ready, _, _ = select.select([self._orders, self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, _READ_BYTES)
                self._reap()
            if self._orders in ready:
                received = os.read(self._orders, _READ_BYTES)
                if not received:
                    self._kill_all()
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        if "order" in order:
            self._start(order["id"], order["order"])
            return
        # Nobody else can have its process id: it is reaped here.
        for pid in [pid for pid, child in self._children.items() if child == order["id"]]:
            if "signal" in order:
                os.kill(pid, order["signal"])
            else:
                _kill(pid)

    def _start(self, child: int, order: Any) -> None:
        server = os.getpid()
        pid = os.fork()
        if not pid:
            self._leave(server)
            self._become(order)
            raise SystemExit
        self._children[pid] = child
        self._say(child, pid=pid)

    def _leave(self, server: int) -> None:
        """Be a process like any other, which hears no orders and gives no answers."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(server)
        os.close(self._wake_read)
        os.close(self._wake_write)
        nothing = os.open(os.devnull, os.O_RDWR)
        for pipe in (self._orders, self._answers):
            os.dup2(nothing, pipe)
        os.close(nothing)

    def _reap(self) -> None:
        for pid, child in list(self._children.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill(pid)  # what it leaves behind
            _, status, used = os.wait4(pid, 0)
            del self._children[pid]
            self._say(child, status=os.waitstatus_to_exitcode(status), peak=used.ru_maxrss * 1024)

    def _kill_all(self) -> None:
        for pid in self._children:
            _kill(pid)
            os.waitpid(pid, 0)

    def _say(self, child: int, **words: int) -> None:
        os.write(self._answers, json.dumps({"id": child, **words}).encode() + b"\n")


def die_with_parent(parent: int) -> None:
    """Be killed by the kernel when `parent` ends, however it ends. Where there is no such call, pipes must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _kill(pid: int) -> None:
    """The child and whatever it may have started."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)

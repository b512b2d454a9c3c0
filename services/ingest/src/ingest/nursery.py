"""The process that brings forth one process a document: `python -m ingest.nursery`.

It has imported all that reading takes, so that a new process is a fork away and costs a few milliseconds and hardly any
memory. Nothing of one document is left when the next one is read. It reads orders from standard input, a JSON object a
line: `{"id": 7, "extraction": …}`, or `{"id": 7, "kill": true}`; when a reader has ended it says
`{"id": 7, "status": …, "peak": …}` on standard output: its exit code, negative for a signal, and the most bytes of
memory it ever held. Once standard input ends, so does everything here.
"""

import gc
import json
import os
import select
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from ingest.confining import confine, die_with_parent
from ingest.extracting import extract
from ingest.extraction import Extraction
from ingest.reading import Engine

_READ_BYTES = 65_536


class Nursery:
    """Starts, ends and reaps readers. One thread, no event loop: it forks."""

    def __init__(self, orders: int = 0, answers: int = 1) -> None:
        self._orders = orders
        self._answers = answers
        self._readers: dict[int, int] = {}
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> None:
        """Serve orders until they end."""
        os.set_blocking(self._wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write)
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
                    self._obey(line)

    def _obey(self, line: bytes) -> None:
        order = json.loads(line)
        if "kill" in order:
            for pid in [pid for pid, reader in self._readers.items() if reader == order["id"]]:
                _kill(pid)
        else:
            self._start(order["id"], Extraction.from_json(order["extraction"]))

    def _start(self, reader: int, wanted: Extraction) -> None:
        nursery = os.getpid()
        pid = os.fork()
        if not pid:
            _be_reader(wanted, nursery)
        self._readers[pid] = reader

    def _reap(self) -> None:
        for pid, reader in list(self._readers.items()):
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if ended:
                del self._readers[pid]
                self.say(reader, status=os.waitstatus_to_exitcode(status), peak=used.ru_maxrss * 1024)

    def say(self, reader: int, *, status: int, peak: int = 0) -> None:
        """How a reader ended. That of reader 0, which there is not, says that all is loaded."""
        os.write(self._answers, json.dumps({"id": reader, "status": status, "peak": peak}).encode() + b"\n")

    def _kill_all(self) -> None:
        for pid in self._readers:
            _kill(pid)
            os.waitpid(pid, 0)


def _be_reader(wanted: Extraction, nursery: int) -> NoReturn:
    status = 1
    with suppress(BaseException):
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_pipes()
        die_with_parent(nursery)
        confine(wanted.limits)
        extract(wanted)
        status = 0
    os._exit(status)


def _close_pipes() -> None:
    """Nothing that a document makes a library say may reach orders, answers or logs."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.closerange(3, 64)


def _kill(pid: int) -> None:
    """The reader and whatever it may have started. Nobody else can have its id: it is reaped here."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def main() -> None:
    """Load what reading takes, say so, and serve."""
    engine, parent = Engine(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    import_module(f"ingest.{engine}_engine")
    # What is loaded by now is shared with every reader: looking through it for garbage would only copy it.
    gc.collect()
    gc.freeze()
    nursery = Nursery()
    nursery.say(0, status=0)
    nursery.run()


if __name__ == "__main__":
    main()

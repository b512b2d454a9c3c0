"""Services of the tests' own that run as processes, and what is said to them without a client."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx


class Process:
    """A service as a process of its own, which runs the text of `app`."""

    def __init__(self, folder: Path, app: str, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "app.py").write_text(app)
        self.log = folder / "log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(folder / "app.py"), str(self.port), *options], stdout=out, stderr=out
            )
        self.url = f"http://127.0.0.1:{self.port}"

    async def ready(self) -> Self:
        async with asyncio.timeout(20), httpx.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"{self.url}/health/live")
                except httpx.TransportError:
                    assert self.process.poll() is None, self.log.read_text()
                    await asyncio.sleep(0.02)
                else:
                    return self

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Killed at the end."""
        try:
            yield self
        finally:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


async def raw(service: Process, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer

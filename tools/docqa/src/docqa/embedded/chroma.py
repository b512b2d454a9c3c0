"""The Chroma server from chromadb's wheel, on the loopback interface, kept in a folder."""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

from docqa import probing
from docqa.embedded import children
from docqa.embedded.failures import ChromaUnavailable

READY_WITHIN = 30.0
# The command line of the wheel without `import chromadb`: the server is the Rust extension, the package around it
# would only cost a second and 100 MB.
RUN = "import sys, chromadb_rust_bindings as server; server.cli(['chroma', *sys.argv[1:]])"

QUIET = {"RUST_LOG": "warn"}
"""By default it tells 3 KB of each request, which nothing ever deletes."""
UNTRACKED = {"ANONYMIZED_TELEMETRY": "False", "CHROMA_TELEMETRY_ENABLED": "False"}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedChroma:
    name = "Chroma"

    def __init__(self, folder: Path, port: int | None = None, *, log: Path | None = None) -> None:
        """`port=None` takes a free one at every start."""
        self._folder = folder
        self._fixed = port
        self._log = log or folder.with_suffix(".log")
        self.port = port or 0
        self.child: children.Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = self._fixed or free_port()
        self.child = children.start(
            "chroma",
            [sys.executable, "-I", "-c", RUN, "run", *self._arguments()],
            environment=QUIET | os.environ | UNTRACKED,
            folder=self._folder,
            log=self._log,
        )
        await self._answers(self.child)

    def _arguments(self) -> list[str]:
        return ["--host", "127.0.0.1", "--port", str(self.port), "--path", str(self._folder.resolve())]

    async def _answers(self, child: children.Child) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not child.running:
                raise ChromaUnavailable(f"it ended with exit code {child.exit_code}", log=self._log)
            if await probing.is_well(f"{self.url}/api/v2/heartbeat"):
                return
            await asyncio.sleep(0.05)
        child.kill()
        raise ChromaUnavailable(f"it did not answer within {READY_WITHIN:.0f} s", log=self._log)

    async def stop(self) -> None:
        """Ends it; a write that it acknowledged is on disk."""
        if self.child is not None:
            await self.child.stop()

"""The provider that the benchmarks ask: a stub in a process of its own, told over HTTP how to behave."""

import asyncio
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from docqa.embedded import children

ROOT = Path(__file__).parent.parent
KEY = "a-good-key"
MODEL = "stub"
DIMENSION = 384
STARTED_WITHIN = 30.0


@dataclass(frozen=True)
class Seen:
    """What came in since the last `reset`."""

    calls: int
    most_in_flight: int


class Provider:
    """Speaks OpenAI's protocol at `base_url`."""

    def __init__(self) -> None:
        self._child: children.Child | None = None
        self.base_url = ""

    async def __aenter__(self) -> Self:
        log = Path(tempfile.gettempdir()) / f"docqa-bench-provider-{os.getpid()}.log"
        self._child = children.start(
            "provider",
            [sys.executable, "-m", "tests.stubs.providers", "openai", "--dimension", str(DIMENSION)],
            environment=os.environ,
            folder=ROOT,
            log=log,
            piped=True,
        )
        async with asyncio.timeout(STARTED_WITHIN):
            self.base_url = (await asyncio.to_thread(_first_line, self._child.stdout)).strip()
        log.unlink()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            await self._child.stop(signal.SIGTERM)

    @property
    def processes(self) -> list[int]:
        return [self._child.pid] if self._child is not None else []

    @property
    def settings(self) -> dict[str, str]:
        """What makes docqa use it."""
        return {
            "DOCQA_EMBEDDING_MODEL": f"openai:{MODEL}",
            "DOCQA_EMBEDDING_DIMENSION": str(DIMENSION),
            "DOCQA_CHAT_MODEL": f"openai:{MODEL}",
            "DOCQA_OPENAI_BASE_URL": self.base_url,
            "DOCQA_OPENAI_API_KEY": KEY,
        }

    async def behave(self, *, delay: float = 0.0, jitter: float = 0.0, error_rate: float = 0.0) -> None:
        """From now on each answer takes `delay` seconds, and up to `jitter` more; some are errors."""
        usual = {"delay": delay, "jitter": jitter, "error_rate": error_rate}
        await self._control("/_usual", {"embeddings": usual, "chat": usual})

    async def reset(self) -> None:
        """Begin to count anew."""
        await self._control("/_forget", {})

    async def seen(self) -> Seen:
        """The embedding calls."""
        counts = (await self._control("/_seen", None))["embeddings"]
        return Seen(calls=int(counts["calls"]), most_in_flight=int(counts["most_in_flight"]))

    async def _control(self, path: str, body: object) -> dict[str, dict[str, int]]:
        async with httpx.AsyncClient(trust_env=False) as http:
            url = self.base_url.removesuffix("/v1") + path
            answer = await (http.get(url) if body is None else http.post(url, json=body))
            told: dict[str, dict[str, int]] = answer.raise_for_status().json()
            return told


def _first_line(descriptor: int) -> str:
    heard = b""
    while not heard.endswith(b"\n"):
        piece = os.read(descriptor, 4096)
        if not piece:
            raise RuntimeError("the stub provider ended at once")
        heard += piece
    return heard.decode()

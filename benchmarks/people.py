"""A person at the front door: signs up, uploads, follows the stream, asks."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx

from benchmarks.documents import File

PASSWORD = "correct horse battery staple"  # noqa: S105 - of people who exist for a minute
ENDS = ("ready", "failed")
PATIENCE = 300.0


class NotReady(Exception):
    """A document came to another end."""

    def __init__(self, document: str, error: object) -> None:
        super().__init__(f"{document} failed: {error}")


@dataclass(frozen=True)
class Heard:
    """When a streamed answer's first word and its end came, in seconds after the question."""

    first_token: float
    whole: float


class Person:
    """Use as an async context; `signs_up` first. One connection follows the stream, others do the rest."""

    def __init__(self, url: str, email: str) -> None:
        self.email = email
        self.user_id: UUID | None = None
        # Without a limit on connections: how many ask at once is the benchmark's affair.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self.http = httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, trust_env=False)
        self._ends: dict[str, asyncio.Future[float | NotReady]] = {}
        self._following: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stops_following()
        await self.http.aclose()

    async def stops_following(self) -> None:
        """From now on nothing is heard of documents."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def signs_up(self) -> None:
        """An account, and a stream that is being followed."""
        answer = await self.http.post("/api/auth/signup", json={"email": self.email, "password": PASSWORD})
        told = answer.raise_for_status().json()
        self.user_id = UUID(told["user"]["id"])
        self.http.headers["Authorization"] = f"Bearer {told['access_token']}"
        self._following = asyncio.create_task(self._follow())
        async with asyncio.timeout(PATIENCE):
            await self._connected.wait()

    async def logs_in(self) -> None:
        answer = await self.http.post("/api/auth/login", json={"email": self.email, "password": PASSWORD})
        answer.raise_for_status()

    async def uploads(self, *files: File) -> list[str]:
        """The ids of the documents, in the order of the files."""
        parts = [("files", (file.name, file.content, file.media_type)) for file in files]
        answer = (await self.http.post("/api/upload", files=parts)).raise_for_status()
        return [document["id"] for document in answer.json()["documents"]]

    async def until_ready(self, documents: Sequence[str]) -> float:
        """When the last of them could be asked about, on the clock of `perf_counter`. Raises `NotReady`."""
        async with asyncio.timeout(PATIENCE):
            ends = await asyncio.gather(*(self._end_of(document) for document in documents))
        for end in ends:
            if isinstance(end, NotReady):
                raise end
        return max(end for end in ends if isinstance(end, float))

    async def brings(self, *files: File) -> float:
        """Seconds from the first byte of the upload until all of it can be asked about."""
        began = perf_counter()
        return await self.until_ready(await self.uploads(*files)) - began

    async def deletes(self, documents: Sequence[str]) -> None:
        """Returns when they are erased everywhere."""
        answer = await self.http.post("/api/docs/delete", json={"ids": list(documents)})
        receipts = [item["deletion_id"] for item in answer.raise_for_status().json()["items"]]
        async with asyncio.timeout(PATIENCE):
            for receipt in receipts:
                await self._erased(receipt)

    async def _erased(self, receipt: str) -> None:
        while True:
            told = (await self.http.get(f"/api/deletions/{receipt}")).raise_for_status().json()
            if told["completed_at"] is not None:
                return
            await asyncio.sleep(0.05)

    async def asks(self, question: str) -> float:
        """Seconds until the whole answer was there."""
        began = perf_counter()
        answer = (await self.http.post("/api/ask", json={"question": question})).raise_for_status()
        took = perf_counter() - began
        if not answer.json()["answered"]:
            raise AssertionError(f"not answered: {question}")
        return took

    async def asks_aloud(self, question: str) -> Heard:
        """The same, read as it is said."""
        began, first = perf_counter(), 0.0
        headers = {"Accept": "text/event-stream"}
        async with self.http.stream("POST", "/api/ask", json={"question": question}, headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line == "event: token" and not first:
                    first = perf_counter() - began
        return Heard(first_token=first, whole=perf_counter() - began)

    async def searches(self, query: str, *, top_k: int = 8) -> list[str]:
        """The documents of what was found, best first."""
        answer = await self.http.post("/api/search", json={"query": query, "top_k": top_k})
        return [item["document_id"] for item in answer.raise_for_status().json()["items"]]

    def _end_of(self, document: str) -> "asyncio.Future[float | NotReady]":
        return self._ends.setdefault(document, asyncio.get_running_loop().create_future())

    async def _follow(self) -> None:
        timeout = httpx.Timeout(PATIENCE)
        async with self.http.stream("GET", "/api/docs/events", timeout=timeout) as stream:
            stream.raise_for_status()
            self._connected.set()
            async for line in stream.aiter_lines():
                if line.startswith("data: {"):
                    self._heard(json.loads(line[6:]))

    def _heard(self, document: dict[str, object]) -> None:
        if document.get("status") not in ENDS:
            return
        end = self._end_of(str(document["id"]))
        if end.done():
            return
        ready = document["status"] == "ready"
        end.set_result(perf_counter() if ready else NotReady(str(document["id"]), document["error"]))

"""A person at docqa's front door: what she does over HTTP, and what she sees."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.e2e.described import Description
from tests.e2e.waiting import eventually

PASSWORD = "correct horse battery staple"

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    data: Json
    id: str | None = None


@dataclass
class Person:
    """Someone with an account, or about to have one."""

    url: str
    email: str = field(default_factory=lambda: f"{uuid4().hex}@example.org")
    http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30, event_hooks={"response": [_as_described]})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def signs_up(self) -> None:
        self._holds(await self._post("/api/auth/signup", {"email": self.email, "password": PASSWORD}, status=201))

    async def logs_in(self) -> None:
        self._holds(await self._post("/api/auth/login", {"email": self.email, "password": PASSWORD}, status=200))

    def _holds(self, tokens: Json) -> None:
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    async def uploads(self, *files: tuple[str, bytes, str]) -> list[Json]:
        """Send (filename, content, media type) each; gives the documents in their order."""
        answer = await self.http.post("/api/upload", files=[("files", file) for file in files])
        assert answer.status_code == 202, answer.text
        documents: list[Json] = answer.json()["documents"]
        return documents

    async def document(self, document_id: str) -> httpx.Response:
        return await self.http.get(f"/api/docs/{document_id}")

    async def asks(self, question: str, **fields: Any) -> Json:
        return await self._post("/api/ask", {"question": question, **fields}, status=200)

    async def asks_aloud(self, question: str, **fields: Any) -> list[Event]:
        """The same, read as it is said."""
        request = self.http.stream(
            "POST", "/api/ask", json={"question": question, **fields}, headers={"Accept": "text/event-stream"}
        )
        async with request as answer:
            assert answer.status_code == 200, (await answer.aread()).decode()
            return [event async for event in _events(answer)]

    async def searches(self, query: str, **fields: Any) -> list[Json]:
        items: list[Json] = (await self._post("/api/search", {"query": query, **fields}, status=200))["items"]
        return items

    async def closes_her_account(self) -> Json:
        return await self._post("/api/auth/me/delete", {"password": PASSWORD}, status=202)

    async def deletes(self, document_id: str) -> Json:
        answer = await self.http.delete(f"/api/docs/{document_id}")
        assert answer.status_code == 202, answer.text
        deletion: Json = answer.json()
        return deletion

    async def receipt(self, deletion_id: str) -> Json:
        """The receipt of a deletion, once it is complete."""

        async def complete() -> Json | None:
            shown = await self.gets(f"/api/deletions/{deletion_id}")
            return shown if shown["completed_at"] else None

        found = await eventually(complete)
        assert found is not None
        return found

    @asynccontextmanager
    async def watching(self, last_event_id: str | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        """The stream of her documents, as a page would follow it."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        async with self.http.stream("GET", "/api/docs/events", headers=headers, timeout=120) as answer:
            assert answer.status_code == 200, (await answer.aread()).decode()
            yield _events(answer)

    async def waits_for(self, document_id: str, status: str, *, version: int = 1) -> list[Event]:
        """Follow the stream until the document is there; gives what the stream said of it on the way.

        Raises AssertionError if it comes to another end.
        """
        seen = []
        async with self.watching() as events:
            async for event in events:
                if event.data.get("id") != document_id or event.name != "document":
                    continue
                seen.append(event)
                if event.data["version"] == version and event.data["status"] in {status, "ready", "failed"}:
                    assert event.data["status"] == status, event.data
                    return seen
        raise AssertionError(f"the stream ended before {document_id} was {status}")

    async def follows(self, document_id: str, statuses: set[str]) -> Json:
        """Follow the stream until the document has one of the statuses; gives it as it then is."""
        async with self.watching() as events:
            async for event in events:
                if event.name == "document" and event.data["id"] == document_id and event.data["status"] in statuses:
                    return event.data
        raise AssertionError(f"the stream ended before {document_id} was any of {statuses}")

    async def gets(self, path: str, **params: Any) -> Json:
        answer = await self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        content: Json = answer.json()
        return content

    async def is_ready_with(self, *files: tuple[str, bytes, str]) -> list[Json]:
        """Upload, and wait until all of it can be asked about."""
        documents = await self.uploads(*files)
        for document in documents:
            await self.waits_for(document["id"], "ready")
        return [await self.gets(f"/api/docs/{document['id']}") for document in documents]

    async def _post(self, path: str, body: Json, *, status: int) -> Json:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        content: Json = answer.json()
        return content


async def _as_described(answer: httpx.Response) -> None:
    """Whatever she sees is what `/openapi.json` says; streams and files are read by whoever asked for them."""
    if "json" in answer.headers.get("content-type", "") or answer.request.method == "HEAD":
        await answer.aread()
    description = Description.of(f"{answer.request.url.scheme}://{answer.request.url.netloc.decode()}")
    mistakes = [*description.mistakes(answer), description.undeclared(answer)]
    assert not any(mistakes), (answer.request.method, answer.request.url.path, mistakes, answer.headers)


async def _events(answer: httpx.Response) -> AsyncIterator[Event]:
    name, data, event_id = "message", "", None
    async for line in answer.aiter_lines():
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            data += line.removeprefix("data:").removeprefix(" ")
        elif line.startswith("id:"):
            event_id = line.removeprefix("id:").strip()
        elif not line and data:
            yield Event(name, json.loads(data), event_id)
            name, data, event_id = "message", "", None

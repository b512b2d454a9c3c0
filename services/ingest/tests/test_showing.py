"""The chunks of a document over HTTP, as the gateway asks for them."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chassis.database import Sessions
from chassis.local_files import LocalFiles
from chassis.objects import ObjectMissing
from chassis.problems import ProblemError
from contracts.facts import Fact
from contracts.internal import LIVE_VERSION_HEADER
from contracts.objects import chunks_key
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from ingest import cursors
from ingest.cursors import Place
from ingest.main import create_app
from ingest.settings import IngestSettings
from ingest.showing import ShowChunks
from sqlalchemy import ScalarResult
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.ingest.tests.at_work import AtWork, Document

TEXT = "\n\n".join(f"Paragraph {number} 😀 of a text with some length to it, and more." for number in range(60))


class Reader:
    """A person who reads chunks."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._token = token

    async def get(self, document: UUID | str, *, live: int | None = None, **query: str | int) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        if live is not None:
            headers[LIVE_VERSION_HEADER] = str(live)
        return await self._http.get(f"/api/docs/{document}/chunks", params=query, headers=headers)

    async def all(self, document: UUID, limit: int) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        query: dict[str, str] = {}
        while True:
            answer = await self.get(document, live=None, limit=limit, **query)
            page = answer.raise_for_status().json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            query = {"cursor": page["next_cursor"]}


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def document() -> Document:
    return Document(TEXT.encode(), media_type="text/plain", filename="a.txt")


@pytest.fixture
def app(settings: IngestSettings, ingest: AtWork, keys: Any) -> FastAPI:
    """Ingest as it is put together, without anything in its background."""
    app = create_app(settings)
    app.state.verifier = keys.verifier
    app.state.show_chunks = ShowChunks(ingest.sessions, ingest.store)
    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
        yield client


@pytest.fixture
def owner(http: httpx.AsyncClient, document: Document, token_for: Callable[[UUID], str]) -> Reader:
    return Reader(http, token_for(document.owner))


@pytest.fixture
def stranger(http: httpx.AsyncClient, token_for: Callable[[UUID], str]) -> Reader:
    return Reader(http, token_for(uuid4()))


async def ready(ingest: AtWork, document: Document, version: int = 1) -> None:
    await ingest.upload(document, version=version)
    await ingest.hear(document.ready(version))


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_all_chunks_come_in_order_page_by_page(
    ingest: AtWork, owner: Reader, document: Document, limit: int
) -> None:
    await ready(ingest, document)
    chunks = await ingest.chunks(document)

    assert await owner.all(document.id, limit) == [
        {
            "id": f"{document.id}:1:{chunk.ordinal}",
            "ordinal": chunk.ordinal,
            "page": None,
            "start": chunk.start,
            "end": chunk.end,
            "text": TEXT[chunk.start : chunk.end],
        }
        for chunk in chunks
    ]


async def test_twenty_chunks_are_a_page(ingest: AtWork, owner: Reader, document: Document) -> None:
    await ready(ingest, document)

    assert len((await owner.get(document.id)).json()["items"]) == 20


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1e9"])
async def test_absurd_limits_are_refused(owner: Reader, document: Document, limit: str) -> None:
    assert problem(await owner.get(document.id, limit=limit)) == (422, "request.invalid")


@pytest.mark.parametrize("cursor", ["?", "AAAA", "MTox!", "LTE6MA", "OTk5OTk5OTk5OTk5OTk6MA", "x" * 65, "ü", "MTowOjA"])
async def test_forged_cursors_are_refused(owner: Reader, document: Document, cursor: str) -> None:
    assert problem(await owner.get(document.id, cursor=cursor)) == (422, "request.invalid")


async def test_an_empty_cursor_is_the_beginning(ingest: AtWork, owner: Reader, document: Document) -> None:
    await ready(ingest, document)

    assert (await owner.get(document.id, cursor="")).json() == (await owner.get(document.id)).json()


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_cursor_is_read_as_it_was_written(version: int, ordinal: int) -> None:
    assert cursors.read(cursors.write(Place(version, ordinal))) == Place(version, ordinal)


@given(st.text())
def test_anything_else_is_refused_and_never_fails(cursor: str) -> None:
    try:
        cursors.read(cursor)
    except ProblemError as refused:
        assert refused.status == 422  # noqa: PT017 - some texts are cursors


async def test_foreign_unknown_and_deleted_documents_are_alike(
    ingest: AtWork, owner: Reader, stranger: Reader, document: Document
) -> None:
    await ready(ingest, document)
    foreign, unknown = await stranger.get(document.id, live=1), await owner.get(uuid4(), live=1)
    await ingest.hear(document.deleted())
    deleted = await owner.get(document.id, live=1)

    for answer in (foreign, unknown, deleted):
        assert problem(answer) == (404, "document.not_found")
        assert answer.json() | {"request_id": ""} == foreign.json() | {"request_id": ""}


async def test_an_id_that_is_none_is_refused(owner: Reader) -> None:
    assert problem(await owner.get("../../etc/passwd"))[0] == 404
    assert problem(await owner.get("17")) == (422, "request.invalid")


async def test_without_a_token_there_is_nothing_to_see(http: httpx.AsyncClient, document: Document) -> None:
    answer = await http.get(f"/api/docs/{document.id}/chunks")

    assert problem(answer) == (401, "auth.token_invalid")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_document_that_is_not_ready_is_not_shown(ingest: AtWork, owner: Reader, document: Document) -> None:
    await ingest.upload(document)

    assert problem(await owner.get(document.id)) == (409, "document.not_ready")
    assert (await owner.get(document.id, live=1)).status_code == 200


async def test_the_higher_of_what_we_and_the_gateway_know_is_shown(
    ingest: AtWork, owner: Reader, document: Document
) -> None:
    await ready(ingest, document)
    await ingest.upload(document, version=2)

    assert (await owner.get(document.id, live=1)).json()["items"][0]["id"] == f"{document.id}:1:0"
    assert (await owner.get(document.id, live=2)).json()["items"][0]["id"] == f"{document.id}:2:0"
    await ingest.hear(document.ready(2))
    assert (await owner.get(document.id, live=1)).json()["items"][0]["id"] == f"{document.id}:2:0"


async def test_a_cursor_is_stale_once_a_newer_version_took_over(
    ingest: AtWork, owner: Reader, document: Document
) -> None:
    await ready(ingest, document)
    cursor = (await owner.get(document.id, limit=2)).json()["next_cursor"]
    await ready(ingest, document, version=2)

    assert problem(await owner.get(document.id, cursor=cursor)) == (409, "cursor.stale")


async def test_a_cursor_of_a_version_that_never_was_is_stale(ingest: AtWork, owner: Reader, document: Document) -> None:
    await ready(ingest, document)

    assert problem(await owner.get(document.id, cursor=cursors.write(Place(9, 0)))) == (409, "cursor.stale")


async def test_a_cursor_beyond_the_end_gives_an_empty_page(ingest: AtWork, owner: Reader, document: Document) -> None:
    await ready(ingest, document)
    page = (await owner.get(document.id, cursor=cursors.write(Place(1, 10_000)))).json()

    assert page == {"items": [], "next_cursor": None}


async def test_a_cursor_of_a_gateway_that_knows_more_goes_on_with_its_version(
    ingest: AtWork, owner: Reader, document: Document
) -> None:
    await ready(ingest, document)
    await ingest.upload(document, version=2)
    cursor = (await owner.get(document.id, live=2, limit=2)).json()["next_cursor"]

    assert (await owner.get(document.id, live=1, cursor=cursor)).json()["items"][0]["id"] == f"{document.id}:2:2"


async def test_a_version_that_only_the_gateway_knows_is_not_ready_here(
    ingest: AtWork, owner: Reader, document: Document
) -> None:
    await ready(ingest, document)

    assert problem(await owner.get(document.id, live=5)) == (409, "document.not_ready")


async def test_a_version_dropped_while_it_is_read_gives_way_to_the_newer_one(
    ingest: AtWork, owner: Reader, document: Document, app: FastAPI
) -> None:
    await ready(ingest, document)
    await ingest.upload(document, version=2)

    app.state.show_chunks = ShowChunks(
        ingest.sessions, VanishingOnce(ingest.store, partial(work_on, ingest, document.ready(2)))
    )
    assert (await owner.get(document.id, live=1)).json()["items"][0]["id"] == f"{document.id}:2:0"


async def test_rows_dropped_while_they_are_looked_for_give_way_to_those_of_the_newer_version(
    ingest: AtWork, owner: Reader, document: Document, app: FastAPI
) -> None:
    await ready(ingest, document)
    await ingest.upload(document, version=2)

    app.state.show_chunks = ShowChunks(just_before_rows(ingest, document.ready(2)), ingest.store)
    assert (await owner.get(document.id, live=1)).json()["items"][0]["id"] == f"{document.id}:2:0"


async def test_a_document_purged_while_its_rows_are_looked_for_is_not_found(
    ingest: AtWork, owner: Reader, document: Document, app: FastAPI
) -> None:
    await ready(ingest, document)

    app.state.show_chunks = ShowChunks(just_before_rows(ingest, document.deleted()), ingest.store)
    assert problem(await owner.get(document.id, live=1)) == (404, "document.not_found")


async def test_text_that_is_not_as_it_was_written_is_not_shown(
    ingest: AtWork, owner: Reader, document: Document
) -> None:
    await ready(ingest, document)
    key = chunks_key(document.owner, document.id, 1, 1)
    whole = await ingest.store.read(key, 0, 1_000_000)
    for damaged in (whole.replace(b"Paragraph 3", b"Paragraph X"), whole[: len(whole) // 3], whole.upper()):
        await ingest.put(key, damaged)
        answer = await owner.get(document.id, limit=100)

        assert problem(answer) == (503, "service.unavailable")
        assert "retry-after" in answer.headers


async def test_text_that_is_gone_is_no_reason_to_fail_badly(ingest: AtWork, owner: Reader, document: Document) -> None:
    await ready(ingest, document)
    await ingest.store.delete(chunks_key(document.owner, document.id, 1, 1))

    assert problem(await owner.get(document.id)) == (503, "service.unavailable")


class VanishingOnce(LocalFiles):
    """A store whose first read finds that the object was dropped a moment ago."""

    def __init__(self, whole: LocalFiles, drop: Callable[[], Any]) -> None:
        super().__init__(whole._root)
        self._drop: Callable[[], Any] | None = drop

    async def read(self, key: str, start: int, length: int) -> bytes:
        if self._drop is not None:
            drop, self._drop = self._drop, None
            await drop()
            raise ObjectMissing(key)
        return await super().read(key, start, length)


async def work_on(ingest: AtWork, fact: Fact) -> None:
    """What ingest does about a fact."""
    async with ingest.working():
        await ingest.hear(fact)
        await ingest.settled()


def just_before_rows(ingest: AtWork, fact: Fact) -> Sessions:
    """Sessions in which ingest works on a fact, once, after the look at a version and before that at its rows."""
    unheard = [fact]

    class Interrupted(AsyncSession):
        async def scalars(self, *args: Any, **kwargs: Any) -> ScalarResult[Any]:
            while unheard:
                await work_on(ingest, unheard.pop())
            return await super().scalars(*args, **kwargs)

    return async_sessionmaker(ingest.engine, class_=Interrupted, expire_on_commit=False)

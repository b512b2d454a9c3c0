"""The stream: state in order, resumable anywhere, ended when its reader has no business there any more."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from gateway.changes import OwnerState, Watch
from gateway.closing import CloseAccount
from gateway.deleting import Delete
from gateway.streaming import Start, start_of
from messaging.listening import Listener
from messaging.outbox import Outbox
from sqlalchemy import text

from .front_door import Gateway, Person, a_life, purged, served

STATE = OwnerState(tag="0123abcd", counter=10, closed=False)


@dataclass(frozen=True)
class Event:
    name: str
    id: str | None
    data: dict[str, Any]


class Reader:
    """Reads a stream event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self) -> Event:
        """The next event; waits for it."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if not line and fields:
                    return Event(fields["event"], fields.get("id"), json.loads(fields["data"]))
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
        raise EOFError

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        while not wanted(event := await self.next()):
            pass
        return event

    async def heartbeat(self) -> None:
        """Wait for the next sign of life."""
        async with asyncio.timeout(10):
            while not (await anext(self._lines)).startswith(":"):
                pass

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            return [line async for line in self._lines if line and not line.startswith(":")] == []


@asynccontextmanager
async def running(gateway: Gateway, *, listening: bool = True) -> AsyncIterator[str]:
    """A gateway on a real socket that looks for changes, with or without being notified."""
    changes = gateway.app.state.parts.stream._changes
    tasks = [asyncio.create_task(changes.run())]
    if listening:
        engine = gateway.sessions.kw["bind"]
        listener = Listener(engine)
        listener.on("documents", changes._heard)
        tasks.append(asyncio.create_task(listener.run()))
        await listener.ready()
    async with served(gateway.app) as address:
        yield address
        gateway.app.state.stopping.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def following(
    address: str, person: Person, last: str | None = None, token: str | None = None
) -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {token or person.token}"} | ({"Last-Event-ID": last} if last else {})
    async with (
        httpx.AsyncClient(base_url=address, timeout=20) as http,
        http.stream("GET", "/api/docs/events", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        yield Reader(answer)


async def test_a_look_that_fails_is_not_the_last(
    gateway: Gateway, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(gateway, listening=False) as address, following(address, ada) as reader:
        await ada.has_uploaded("a.txt", b"a")
        await reader.next()
        changes, failed = gateway.app.state.parts.stream._changes, asyncio.Event()

        async def fail(_: object) -> None:
            failed.set()
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(changes, "_look", fail)
            await failed.wait()
        document = await ada.has_uploaded("b.txt", b"b")
        assert (await reader.next()).data["id"] == str(document)


async def test_its_head_ends_at_once_and_watches_nothing(gateway: Gateway, ada: Person) -> None:
    async with running(gateway) as address, httpx.AsyncClient(base_url=address, timeout=20) as http:
        before = asyncio.all_tasks()
        answer = await http.head("/api/docs/events", headers={"Authorization": f"Bearer {ada.token}"})

        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert not gateway.app.state.parts.stream._changes._watches
        async with asyncio.timeout(10):
            await asyncio.gather(*asyncio.all_tasks() - before)


async def test_it_begins_with_everything_and_follows_what_changes(gateway: Gateway, ada: Person, bob: Person) -> None:
    first, second = await ada.has_uploaded("a.txt", b"a"), await ada.has_uploaded("b.txt", b"b")
    await bob.has_uploaded("bobs.txt", b"his")
    async with running(gateway) as address, following(address, ada) as reader:
        assert reader.answer.headers["content-type"].startswith("text/event-stream")
        assert [(await reader.next()).data["id"] for _ in range(2)] == [str(first), str(second)]

        await gateway.becomes_ready(ada.id, second)
        ready = await reader.until(lambda event: event.data["status"] == "ready")

    assert ready.name == "document"
    assert ready.data == await ada.document(second)


async def test_streams_that_are_as_far_read_together(
    gateway: Gateway, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, reads = gateway.app.state.parts.stream, 0
    driver = stream._transactions.driver

    def counted() -> Any:
        nonlocal reads
        reads += 1
        return driver()

    async with running(gateway) as address, AsyncExitStack() as opened:
        readers = [await opened.enter_async_context(following(address, ada)) for _ in range(10)]
        await ada.has_uploaded("a.txt", b"a")
        for reader in readers:
            await reader.next()
        monkeypatch.setattr(stream, "_transactions", SimpleNamespace(driver=counted))
        document = await ada.has_uploaded("b.txt", b"b")
        told = [(await reader.next()).data["id"] for reader in readers]

    assert told == [str(document)] * 10
    assert 1 <= reads <= 5


async def test_nobody_goes_on_to_a_step_by_what_was_read_before_it(gateway: Gateway) -> None:
    stream, owner = gateway.app.state.parts.stream, uuid4()
    reads, has_begun, may_read = list[int](), asyncio.Event(), asyncio.Event()

    class Driver:
        async def fetch(self, *_: object) -> list[dict[str, Any]]:
            reads.append(len(reads))
            has_begun.set()
            if len(reads) == 1:
                await may_read.wait()
                return []
            return [{"step": 6, "gone": True, "document": owner}]

    @asynccontextmanager
    async def driver() -> AsyncIterator[Driver]:
        yield Driver()

    async def read(counter: int) -> Any:
        return await stream._next(owner, 5, 5, Watch(OwnerState(tag="0123abcd", counter=counter, closed=False)))

    stream._transactions = SimpleNamespace(driver=driver)
    before = asyncio.create_task(read(5))
    await asyncio.wait_for(has_begun.wait(), 10)
    after = asyncio.create_task(read(6))
    await asyncio.sleep(0)
    may_read.set()

    assert (await before)[0] == 5
    position, told = await after
    assert (position, len(told)) == (6, 1)


async def eventually_nobody_watches(gateway: Gateway, owner: UUID) -> None:
    async with asyncio.timeout(10):
        while gateway.app.state.parts.stream._changes.watching(owner):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_an_account_has_so_many_streams_and_no_more(
    gateway: Gateway, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.streaming.MOST_STREAMS", 1)
    await ada.has_uploaded()
    async with running(gateway) as address:
        async with following(address, ada) as reader:
            await reader.next()
            refused = await ada.http.get("/api/docs/events")
            async with following(address, bob):
                pass
        await eventually_nobody_watches(gateway, ada.id)
        async with following(address, ada) as reader:
            await reader.next()

    assert (refused.status_code, refused.json()["code"]) == (429, "quota.streams")
    assert refused.headers["retry-after"] == "30"


async def test_documents_that_move_on_together_are_told_of_one_by_one(gateway: Gateway, ada: Person) -> None:
    documents = [await ada.has_uploaded(f"{number}.txt", b"%d" % number) for number in range(3)]
    async with running(gateway) as address, following(address, ada) as reader:
        uploaded = [await reader.next() for _ in documents]

        await gateway.hear_together(*(fact for document in documents for fact in a_life(ada.id, document)))
        ready = [await reader.next() for _ in documents]

    assert [event.data["id"] for event in ready] == [event.data["id"] for event in uploaded]
    assert {event.data["status"] for event in ready} == {"ready"}
    assert len({event.id for event in (*uploaded, *ready)}) == 6


@pytest.mark.parametrize("listening", [True, False])
async def test_a_missed_notification_costs_a_second(gateway: Gateway, ada: Person, listening: bool) -> None:
    async with running(gateway, listening=listening) as address, following(address, ada) as reader:
        document = await ada.has_uploaded()

        assert (await reader.next()).data["id"] == str(document)


async def test_resuming_misses_nothing_and_repeats_nothing(gateway: Gateway, ada: Person) -> None:
    first = await ada.has_uploaded("a.txt", b"a")
    async with running(gateway) as address, following(address, ada) as reader:
        seen = await reader.next()
    second = await ada.has_uploaded("b.txt", b"b")
    await gateway.becomes_ready(ada.id, first)
    gateway.app.state.stopping.clear()

    async with running(gateway) as address, following(address, ada, seen.id) as reader:
        events = [await reader.next(), await reader.next()]

    assert [(event.data["id"], event.data["status"]) for event in events] == [
        (str(second), "uploaded"), (str(first), "ready")
    ]  # fmt: skip
    assert seen.id is not None
    assert [event.id.rpartition("-")[0] for event in events if event.id] == [seen.id.rpartition("-")[0]] * 2


async def test_a_stream_goes_on_at_another_gateway(gateway: Gateway, start: Any, ada: Person) -> None:
    await ada.has_uploaded("a.txt", b"a")
    async with running(gateway) as address, following(address, ada) as reader:
        seen = await reader.next()
    second = await ada.has_uploaded("b.txt", b"b")

    async with running(start()) as address, following(address, ada, seen.id) as reader:
        assert (await reader.next()).data["id"] == str(second)


async def test_more_than_a_batch_comes_in_order(gateway: Gateway, ada: Person) -> None:
    for number in range(6):
        files = [(f"{number}-{n}.txt", f"{number}-{n}".encode(), "text/plain") for n in range(20)]
        assert (await ada.upload(*files)).status_code == 202
    async with running(gateway) as address, following(address, ada) as reader:
        events = [await reader.next() for _ in range(120)]

    positions = [int(event.id.rpartition("-")[2]) for event in events if event.id]
    assert positions == sorted(positions)
    assert len({event.data["id"] for event in events}) == 120


async def test_a_completed_deletion_is_told_as_gone(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    async with running(gateway) as address, following(address, ada) as reader:
        await reader.next()
        deletion = await Delete(sessions=gateway.sessions, outbox=Outbox("gateway")).one(ada.id, document)
        deleting = await reader.next()
        await gateway.is_erased_elsewhere(ada.id, document, deletion.deletion_id)
        await gateway.hear(purged_by_gateway(ada.id, document, deletion.deletion_id))
        gone = await reader.next()

    assert deleting.data["status"] == "deleting"
    assert (gone.name, gone.data) == ("gone", {"id": str(document)})
    gateway.app.state.stopping.clear()
    async with running(gateway) as address, following(address, ada, deleting.id) as reader:
        assert (await reader.next()).name == "gone"
    other = await ada.has_uploaded("b.txt", b"b")
    gateway.app.state.stopping.clear()
    async with running(gateway) as address, following(address, ada) as reader:
        assert (await reader.next()).data["id"] == str(other)


async def test_an_expired_token_ends_it_with_an_error(gateway: Gateway, ada: Person, token_for: Any) -> None:
    """On time: the leeway that two clocks are given is not for staying longer."""
    token = token_for(ada.id, exp=int(time.time()) + 1)
    async with running(gateway) as address, following(address, ada, token=token) as reader:
        event = await reader.next()
        assert await reader.ended()

    assert (event.name, event.data["code"], event.data["status"]) == ("error", "auth.token_expired", 401)


async def test_a_stream_by_api_key_goes_on_with_a_new_token(gateway: Gateway, ada: Person, token_for: Any) -> None:
    key = "dq_streaming"
    gateway.behind.exchanged[key] = token_for(ada.id, exp=int(time.time()) + 1)
    async with running(gateway) as address, following(address, ada, token=key) as reader:
        await gateway.behind.exchanges.get()
        gateway.behind.exchanged[key] = token_for(ada.id)
        gateway.app.state.callers.forget_keys(ada.id)
        await gateway.behind.exchanges.get()
        document = await ada.has_uploaded("b.txt", b"b")
        assert (await reader.next()).data["id"] == str(document)


async def test_a_token_that_is_renewed_does_not_lengthen_the_silence(
    gateway: Gateway, ada: Person, token_for: Any
) -> None:
    gateway.app.state.parts.stream._heartbeat = 60
    key = "dq_streaming"
    gateway.behind.exchanged[key] = token_for(ada.id, exp=int(time.time()) + 1)
    async with running(gateway) as address, following(address, ada, token=key) as reader:
        await gateway.behind.exchanges.get()
        await reader.heartbeat()
        gateway.behind.exchanged[key] = token_for(ada.id)
        gateway.app.state.callers.forget_keys(ada.id)
        await reader.heartbeat()


async def test_a_closed_account_ends_it_within_a_second(gateway: Gateway, ada: Person) -> None:
    async with running(gateway) as address, following(address, ada) as reader:
        await CloseAccount(sessions=gateway.sessions)(ada.id, uuid4())
        event = await reader.next()
        assert await reader.ended()

    assert (event.name, event.data["code"]) == ("error", "auth.token_invalid")


async def test_it_says_that_it_is_alive(gateway: Gateway, ada: Person) -> None:
    async with running(gateway) as address, following(address, ada) as reader:
        for _ in range(3):
            await reader.heartbeat()


async def test_it_ends_when_the_gateway_stops(gateway: Gateway, ada: Person) -> None:
    async with running(gateway) as address, following(address, ada) as reader:
        gateway.app.state.stopping.set()
        assert await reader.ended()


async def test_a_lost_database_ends_it_with_an_error(start: Any, database: Any) -> None:
    gateway: Gateway = start(database_url=await database("gateway"))
    ada = gateway.people(None)
    async with running(gateway) as address, following(address, ada) as reader:
        await ada.has_uploaded()
        await reader.next()
        async with gateway.sessions.begin() as session:
            await session.execute(text("ALTER TABLE documents RENAME TO hidden"))
            await session.execute(text("UPDATE owners SET counter = counter + 1"))
        with pytest.raises((EOFError, httpx.RemoteProtocolError)):
            await reader.next()


@pytest.mark.parametrize(
    ("last", "start"),
    [
        (None, Start(0, 10)),
        ("", Start(0, 10)),
        ("0", Start(0, 10)),
        ("0123abcd-0", Start(0, 10)),
        ("0123abcd-7", Start(7, 7)),
        ("0123abcd-10", Start(10, 10)),
        ("0123abcd-11", Start(0, 10)),
        ("ffffffff-7", Start(0, 10)),
        ("0123abcd-٣", Start(0, 10)),
        ("0123abcd-" + "9" * 30, Start(0, 10)),
        ("garbage", Start(0, 10)),
    ],
)
def test_an_id_that_is_foreign_or_from_the_future_is_the_beginning(last: str | None, start: Start) -> None:
    assert start_of(last, STATE) == start


def purged_by_gateway(owner: UUID, document: UUID, deletion: UUID) -> Any:
    return purged(owner, document, deletion, service="gateway")

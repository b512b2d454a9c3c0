"""What a consumer takes at once, and what it tells the client of it. The client does as it is told here."""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from messaging import gathering
from messaging.client_log import Complaints
from messaging.gathering import GatheringConsumer
from structlog.testing import capture_logs

from libs.messaging.tests.samples import until

OFTEN, SELDOM = 12, 500


def message(offset: int, *, key: bytes | None = None, error: KafkaError | None = None) -> Message:
    key = b"%d" % offset if key is None else key
    return Message(topic="documents", partition=0, offset=offset, key=key, value=b"", error=error)


class Client:
    """As much of librdkafka's as a consumer asks. What `comes` one by one, was not there before it was asked for."""

    def __init__(self, fetched: Iterable[Message], comes: Iterable[Message] = ()) -> None:
        self.fetched = list(fetched)
        self.comes = list(comes)
        self.stored: list[int] = []
        self.sought: list[int] = []
        self.lost = False
        self.answered = threading.Event()
        self.closing: list[threading.Thread] = []

    def poll(self, timeout: float) -> Message | None:
        if self.fetched:
            return self.fetched.pop(0)
        return self.comes.pop(0) if self.comes else None

    def consume(self, count: int, timeout: float) -> list[Message]:
        taken, self.fetched = self.fetched[:count], self.fetched[count:]
        return taken

    def seek(self, place: TopicPartition) -> None:
        self.sought.append(place.offset)

    def close(self) -> None:
        self.closing.append(threading.current_thread())
        self.answered.wait()

    def store_offsets(self, offsets: Sequence[TopicPartition]) -> None:
        if self.lost:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.stored += [place.offset for place in offsets]


class Consumer(GatheringConsumer):
    """Passes by what is about `passed`, and can wait with what is about `unhurried`."""

    def __init__(self, client: Client, *, fetch_wait_ms: int = SELDOM) -> None:
        self.consumer: Any = client
        self.config = {"fetch.wait.max.ms": fetch_wait_ms}
        self.passed: list[int] = []
        self.ends_told: list[tuple[int, int]] = []
        self.steps = 0
        self._thread_pool = ThreadPoolExecutor(1)
        self._passes_by = lambda message: message.key() == b"passed"
        self._unhurried = lambda message: message.key() == b"unhurried"
        self._on_passed = self._pass
        self.ended: list[str] = []
        self._end = self.ended.append
        self._on_end = lambda partition, end: self.ends_told.append((partition, end))
        self._complaints = Complaints()
        self._done = {}
        self._ends = {}
        self._damages = {}

    async def takes(self, most: int = 20) -> list[int]:
        return [int(found.offset() or 0) for found in await self.getmany(0.1, most)]

    def _pass(self, message: Message) -> None:
        self.passed.append(int(message.offset() or 0))
        self.done("documents", 0, int(message.offset() or 0) + 1)


async def test_what_has_been_fetched_is_taken_at_once_up_to_a_limit() -> None:
    consumer = Consumer(Client(message(offset) for offset in range(5)))
    assert [await consumer.takes(3) for _ in range(3)] == [[0, 1, 2], [3, 4], []]


async def test_what_is_done_is_told_before_more_is_asked_for_and_at_the_end() -> None:
    client = Client([message(0), message(1)])
    consumer = Consumer(client)
    await consumer.takes()
    assert client.stored == []
    consumer.done("documents", 0, 1)
    consumer.done("documents", 0, 2)
    await consumer.takes()
    assert client.stored == [2]


async def test_partitions_that_went_to_another_member_are_left_to_it() -> None:
    client = Client([message(1)])
    client.lost = True
    consumer = Consumer(client)
    consumer.done("documents", 0, 1)
    assert await consumer.takes() == [1]


async def test_what_is_passed_by_wakes_nobody() -> None:
    client = Client([message(0, key=b"passed"), message(1, key=b"passed")], comes=[message(2)])
    consumer = Consumer(client)
    assert await consumer.takes() == [2]
    assert (consumer.passed, client.stored) == ([0, 1], [2])


async def test_what_is_passed_by_behind_a_record_is_not_done_before_it() -> None:
    client = Client([message(0), message(1, key=b"passed")])
    consumer = Consumer(client)
    assert await consumer.takes() == [0, 1]
    assert (consumer.passed, client.stored) == ([], [])


async def test_what_nobody_waits_for_waits_for_what_comes_after_it() -> None:
    client = Client([message(0, key=b"unhurried")], comes=[message(1, key=b"unhurried"), message(2), message(3)])
    consumer = Consumer(client)
    assert await consumer.takes() == [0, 1, 2], "and then somebody waits"
    assert await consumer.takes() == [3]


async def test_what_nobody_waits_for_does_not_wait_for_long() -> None:
    consumer = Consumer(Client([message(0, key=b"unhurried")]))
    async with asyncio.timeout(5):
        assert await consumer.takes() == [0]


@pytest.mark.parametrize("code", sorted(gathering.DAMAGES))
async def test_what_the_client_cannot_take_apart_is_stepped_over_when_it_comes_again(code: int) -> None:
    damaged = message(1, error=KafkaError(code))
    client = Client([message(0), damaged, message(2)], comes=[damaged, message(2)])
    consumer = Consumer(client)
    assert await consumer.takes() == [0], "what was fetched behind the damage is not done before it"
    assert client.sought == [1]
    assert await consumer.takes() == [1]
    assert await consumer.takes() == [2]
    assert client.sought == [1, 2]


async def test_a_batch_that_cannot_be_taken_apart_is_told_of_once_and_stepped_over_to_its_end() -> None:
    damaged = message(1, error=KafkaError(KafkaError._BAD_COMPRESSION))  # of all of the batch, where it begins
    client = Client([], comes=[damaged, damaged, damaged, damaged, message(4)])
    consumer = Consumer(client)
    assert [await consumer.takes(), await consumer.takes()] == [[1], [4]]
    assert client.sought == [1, 2, 3, 4]
    assert consumer.steps == 4, "each of them is progress"


def end_at(offset: int) -> Message:
    return message(offset, error=KafkaError(KafkaError._PARTITION_EOF))


async def test_the_end_of_a_partition_is_told_of_when_everything_before_it_is_handled() -> None:
    consumer = Consumer(Client([message(0), message(1), end_at(2)]))
    assert await consumer.takes() == [0, 1]
    assert consumer.ends_told == [], "these two are being handled"
    assert await consumer.takes() == []
    assert consumer.ends_told == [(0, 2)]


async def test_an_end_behind_what_is_no_record_is_told_of_without_one() -> None:
    damaged = message(0, error=KafkaError(KafkaError._BAD_COMPRESSION))
    consumer = Consumer(Client([], comes=[damaged, damaged, damaged, end_at(2)]))
    assert await consumer.takes() == [0]
    assert await consumer.takes() == []
    assert await consumer.takes() == []
    assert consumer.ends_told == [(0, 2)]


async def test_an_end_that_more_has_come_behind_is_none() -> None:
    consumer = Consumer(Client([message(0), end_at(1), message(1)]))
    assert await consumer.takes() == [0, 1]
    assert await consumer.takes() == []
    assert consumer.ends_told == [], "it would lead back before what is done"


async def test_nobody_has_to_wait_until_a_silent_broker_lets_a_consumer_leave() -> None:
    client = Client([])
    consumer = Consumer(client)
    consumer.done("documents", 0, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await consumer.stop()
    assert client.stored == [1]
    assert [thread.daemon for thread in client.closing] == [True], "it keeps no process alive"
    client.answered.set()


async def test_a_consumer_that_cannot_judge_what_it_has_ends_its_process() -> None:
    def fails(message: Message) -> bool:
        raise SystemError

    consumer = Consumer(Client([message(0)]))
    consumer._passes_by = fails
    taking = asyncio.create_task(consumer.takes())
    await until(lambda: consumer.ended == ["records could not be taken"])
    taking.cancel()


async def test_what_else_the_client_says_is_no_record() -> None:
    said = message(1, error=KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert await Consumer(Client([said, message(0)])).takes() == [0]


async def test_whoever_may_not_read_is_told_so() -> None:
    refused = message(0, error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    with capture_logs() as told:
        assert await Consumer(Client([refused])).takes() == []
    assert [(line["log_level"], line["error"]) for line in told] == [("warning", "GROUP_AUTHORIZATION_FAILED")]


MANY = [message(offset) for offset in range(6)]


@pytest.mark.parametrize(
    ("fetched", "wait_ms", "gathers"),
    [
        (MANY, SELDOM, True),
        (MANY[:4], SELDOM, False),
        ([message(offset, key=b"k") for offset in range(6)], SELDOM, False),
        (MANY, OFTEN, False),
    ],
    ids=["many subjects", "few", "many of one", "a broker that is asked often"],
)
async def test_in_a_flood_what_comes_meanwhile_is_taken_together(
    fetched: list[Message], wait_ms: int, gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "FLOOD_SECONDS", 60)
    client = Client(fetched)
    consumer = Consumer(client, fetch_wait_ms=wait_ms)
    await consumer.takes()
    client.fetched = [message(6)]
    asyncio.get_running_loop().call_later(gathering.GATHER_SECONDS / 4, client.fetched.append, message(7))

    assert await consumer.takes() == ([6, 7] if gathers else [6])


async def test_after_a_flood_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "FLOOD_SECONDS", 0)
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 3600)
    client = Client(MANY)
    consumer = Consumer(client)
    await consumer.takes()
    client.fetched = [message(6)]

    async with asyncio.timeout(5):
        assert await consumer.takes() == [6]

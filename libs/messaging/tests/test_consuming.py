"""Consuming from a broker with real offsets."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from chassis.ids import uuid7
from chassis.transactions import Transactions
from confluent_kafka import KafkaError, KafkaException
from contracts.envelope import TYPE_HEADER, Envelope
from contracts.facts import DocumentUploaded, Fact
from contracts.topics import DOCUMENTS, TOPICS
from docqa import ports
from docqa.embedded.broker import EmbeddedKafka
from messaging import consuming as consumption_module
from messaging.asking import BrokerQuestions
from messaging.broker_access import BrokerAccess
from messaging.broker_memory import BrokerMemory
from messaging.consuming import Consumption
from messaging.fences import Fence
from messaging.gathering import COMMIT_EVERY_MS, GatheringConsumer
from messaging.handling import Handling
from messaging.subscribing import Subscription
from messaging.tables import DeadLetter
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.messaging.tests.samples import ready, until, uploaded

GROUP = "some.documents"

Headers = Sequence[tuple[Any, Any]]


class Hears:
    """A subscription that remembers what it heard."""

    def __init__(self, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.facts: list[DocumentUploaded] = []
        self.meanwhile = meanwhile

    @property
    def documents(self) -> list[UUID]:
        return [fact.document_id for fact in self.facts]

    async def hear(self, session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        self.facts.append(fact)
        self.meanwhile()


@asynccontextmanager
async def consuming(
    kafka: str, transactions: Transactions, hears: Hears, *, memory: BrokerMemory | None = None, **options: Any
) -> AsyncIterator[Consumption]:
    subscription = Subscription(DOCUMENTS, {DocumentUploaded: hears.hear})
    consumption = Consumption(
        kafka=BrokerAccess(kafka),
        topic="documents",
        group=GROUP,
        handling=Handling(subscription, transactions),
        memory=memory or BrokerMemory(),
        fetch_max_wait_ms=10,
        session_timeout_ms=2000,
        **options,
    )
    running = asyncio.create_task(consumption.run())
    try:
        yield consumption
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=10_000_000)
    await producer.start()
    yield producer
    await producer.stop()


def value_of(fact: Fact) -> bytes:
    return Envelope.wrap(fact, event_id=uuid7(), source="test", time=datetime.now(UTC)).to_bytes()


def documents_of(facts: Sequence[DocumentUploaded]) -> list[UUID]:
    """In the order of their ids: what comes together is not handled in the order in which it was put."""
    return sorted(fact.document_id for fact in facts)


async def put(
    producer: AIOKafkaProducer, value: bytes | None, *, partition: int | None = 0, headers: Headers = ()
) -> None:
    await producer.send_and_wait("documents", value, key=b"k", partition=partition, headers=list(headers))


async def test_each_record_is_heard_once_and_a_successor_begins_where_it_ended(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    facts, hears = [uploaded() for _ in range(6)], Hears()
    for fact in facts[:3]:
        await put(producer, value_of(fact))
    async with consuming(kafka, transactions, hears):
        await until(lambda: len(hears.facts) == 3)
    for fact in facts[3:]:
        await put(producer, value_of(fact))
    async with consuming(kafka, transactions, hears):
        await until(lambda: len(hears.facts) == 6)
    assert sorted(hears.documents[:3]) == documents_of(facts[:3])
    assert sorted(hears.documents[3:]) == documents_of(facts[3:])


async def test_what_has_been_fetched_already_is_handled_together(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    facts, hears = [uploaded() for _ in range(20)], Hears()
    for partition, fact in enumerate(facts):  # of each partition, the embedded broker hands out one record at a time
        await put(producer, value_of(fact), partition=partition)
    async with consuming(kafka, transactions, hears) as consumption:
        await until(lambda: consumption.handled == len(facts))
    assert sorted(hears.documents) == documents_of(facts)
    async with transactions.begin() as session:
        made_by = text("SELECT DISTINCT xmin::text FROM fences")
        assert len((await session.execute(made_by)).all()) <= len(facts) / 2


async def test_what_was_not_acknowledged_is_heard_again(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    def dies_before_it_acknowledges() -> None:
        consumption.consumer = None

    fact, hears = uploaded(), Hears(meanwhile=dies_before_it_acknowledges)
    async with consuming(kafka, transactions, hears) as consumption:
        await put(producer, value_of(fact))
        await until(lambda: len(hears.facts) == 1)
    async with consuming(kafka, transactions, hears):
        await until(lambda: len(hears.facts) == 2)
    assert hears.facts == [fact, fact]


async def test_what_nobody_here_hears_is_passed_by_and_not_seen_again(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    memory, hears = BrokerMemory(), Hears()
    fact, mark = ready(), [(TYPE_HEADER, ready().type.encode())]
    await put(producer, value_of(fact), headers=mark)
    async with consuming(kafka, transactions, hears, memory=memory) as consumption:
        await until(lambda: consumption.joined.is_set() and consumption.handled == 1)
        assert consumption.next_offsets == {0: 1}
    async with consuming(kafka, transactions, hears) as consumption:
        await put(producer, value_of(uploaded()))
        await until(lambda: len(hears.facts) == 1)
        await until(lambda: consumption.handled > 0)
        assert consumption.handled == 1, "the first was acknowledged"
    assert memory.ends("documents") == {0: 1}


@pytest.mark.parametrize("type_", [b"document.unheard_of.v9", b"\xff", b""])
async def test_no_mark_hides_what_is_no_fact(
    type_: bytes, kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    async with consuming(kafka, transactions, Hears()) as consumption:
        await put(producer, b"no fact", headers=[(TYPE_HEADER, type_)])
        await until(lambda: consumption.handled == 1)
    async with transactions.begin() as session:
        assert len((await session.scalars(select(DeadLetter))).all()) == 1


async def test_poison_among_healthy_neighbours_harms_nobody(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    poison: list[tuple[bytes | None, Headers]] = [
        (None, ()),
        (b"", ()),
        (b"\xff\x00not json", ()),
        (b'{"specversion": "1.0"}', ()),
        (b"x" * 5_000_000, ()),
        (value_of(uploaded()), [("content-type", b"\xff\xfe")]),
        (value_of(uploaded()), [("content-type", None)]),
        (value_of(uploaded()), [("reply_to", b"users"), ("content-type", b"\xff")]),
    ]
    facts, hears = [uploaded() for _ in poison], Hears()
    async with consuming(kafka, transactions, hears):
        for (value, headers), fact in zip(poison, facts, strict=True):
            await put(producer, value, headers=headers)
            await put(producer, value_of(fact))
        await until(lambda: len(hears.facts) == len(facts))
    assert sorted(hears.documents) == documents_of(facts)
    async with transactions.begin() as session:
        letters = (await session.scalars(select(DeadLetter).order_by(DeadLetter.log_offset))).all()
    assert [letter.log_offset for letter in letters] == list(range(0, 2 * len(poison), 2))


DAMAGES = [("header name", 1)]
if "DOCQA_TEST_KAFKA" not in os.environ:
    # A real broker takes batches apart itself, and refuses these; one that is embedded or broken may hand them out.
    DAMAGES += [("unknown compression", 1), ("broken compression", 1), ("broken compression", 3)]


@pytest.mark.parametrize(("damage", "records"), DAMAGES)
async def test_what_the_client_cannot_take_apart_does_not_stop_its_partition(
    damage: str, records: int, kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    facts, hears = [uploaded() for _ in range(3)], Hears()
    async with consuming(kafka, transactions, hears):
        await put(producer, value_of(facts[0]))
        await put_damaged(producer, damage, *(value_of(uploaded()) for _ in range(records)))
        await put(producer, value_of(facts[1]))
        await put(producer, value_of(facts[2]), partition=1)
        await until(lambda: len(hears.facts) == 3)
    assert sorted(hears.documents) == documents_of(facts)
    assert await letters(transactions) == [(reason_of(damage), 0, 1)]


@pytest.mark.parametrize(("damage", "records"), DAMAGES)
async def test_whoever_has_read_all_lags_behind_nothing_though_the_last_of_it_cannot_be_taken_apart(
    damage: str, records: int, kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    async with consuming(kafka, transactions, Hears()) as consumption:
        await put_damaged(producer, damage, *(value_of(uploaded()) for _ in range(records)))
        await until(lambda: consumption.next_offsets.get(0) == records)
    committed = await BrokerQuestions(BrokerAccess(kafka), GROUP).committed("documents", [0, 1])
    assert committed == {0: records}, "and of an empty partition nothing"
    assert await letters(transactions) == [(reason_of(damage), 0, 0)]


def reason_of(damage: str) -> str:
    return "record.headers" if damage == "header name" else "record.damaged"


async def letters(transactions: Transactions) -> list[tuple[str, int, int]]:
    async with transactions.begin() as session:
        found = (await session.scalars(select(DeadLetter))).all()
    return [(letter.reason, letter.partition or 0, letter.log_offset or 0) for letter in found]


class _NotText(str):
    """A header's name that goes out as bytes which are not UTF-8."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


class _Uncompressed(_DefaultRecordBatchBuilderPy):  # type: ignore[misc]
    """A batch that says it is compressed, and is not."""

    def _maybe_compress(self) -> bool:
        return True


async def put_damaged(producer: AIOKafkaProducer, damage: str, *values: bytes) -> None:
    """As no client of ours would: the batch is built by the client's slow half, which can be talked into it."""
    headers = [(_NotText("xx"), b"value")] if damage == "header name" else []
    kind = _DefaultRecordBatchBuilderPy if damage == "header name" else _Uncompressed
    codec = {"header name": 0, "broken compression": 1, "unknown compression": 3}[damage]
    batch = producer.create_batch()
    batch._builder = kind(2, codec, 0, -1, -1, 0, 16384)
    for value in values:
        batch.append(timestamp=None, key=b"k", value=value, headers=headers)
    await (await producer.send_batch(batch, "documents", partition=0))


async def test_what_is_heard_before_it_is_known_whether_the_topic_is_new_is_committed_after_that(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears, new, answer = Hears(), list[str](), asyncio.Event()
    async with consuming(kafka, transactions, hears, on_new_log=new.append) as consumption:
        committed = consumption.questions.committed

        async def after_a_while(topic: str, partitions: set[int]) -> dict[int, int]:
            await answer.wait()
            return await committed(topic, partitions)

        monkeypatch.setattr(consumption.questions, "committed", after_a_while)
        await put(producer, value_of(uploaded()))
        await until(lambda: len(hears.facts) == 1)
        await asyncio.sleep(2 * COMMIT_EVERY_MS / 1000)
        answer.set()
        await until(lambda: new == ["documents"])
    async with consuming(kafka, transactions, hears, on_new_log=new.append):
        await put(producer, value_of(uploaded()))
        await until(lambda: len(hears.facts) == 2)
    assert len(hears.facts) == 2
    assert new == ["documents"]


async def test_a_question_in_vain_is_not_taken_for_an_answer_whether_the_topic_is_new(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumption_module, "ASK_AGAIN_SECONDS", 3 * COMMIT_EVERY_MS / 1000)
    hears, new, trouble = Hears(), list[str](), [KafkaException(KafkaError(KafkaError._TIMED_OUT))]
    async with consuming(kafka, transactions, hears, on_new_log=new.append) as consumption:
        committed = consumption.questions.committed

        async def at_the_second_time(topic: str, partitions: set[int]) -> dict[int, int]:
            if trouble:
                raise trouble.pop()
            return await committed(topic, partitions)

        monkeypatch.setattr(consumption.questions, "committed", at_the_second_time)
        await put(producer, value_of(uploaded()))
        await until(lambda: new == ["documents"])
        assert consumption.joined.is_set()


async def test_a_consumer_waits_for_a_broker_that_is_not_there_yet(transactions: Transactions) -> None:
    hears, (port,) = Hears(), ports.free(1)
    with EmbeddedKafka({topic.name: topic.partitions for topic in TOPICS}) as broker:
        async with consuming(f"127.0.0.1:{port}", transactions, hears) as consumption:
            await asyncio.sleep(0.2)
            assert not consumption.joined.is_set()
            async with leading(port, broker.bootstrap_servers):
                await until(consumption.joined.is_set)


async def test_a_client_that_has_no_place_in_its_group_for_long_is_replaced_until_one_has(
    transactions: Transactions,
) -> None:
    hears, (port,) = Hears(), ports.free(1)
    with EmbeddedKafka({topic.name: topic.partitions for topic in TOPICS}) as broker:
        async with consuming(f"127.0.0.1:{port}", transactions, hears, forlorn_seconds=2) as consumption:
            await until(lambda: consumption.consumer is not None)
            first = consumption.consumer
            await until(lambda: consumption.consumer not in (None, first))
            async with leading(port, broker.bootstrap_servers):
                await until(consumption.joined.is_set)
                found = consumption.consumer
                await asyncio.sleep(3)
                assert consumption.consumer is found


async def test_what_is_being_handled_when_a_consumer_stops_is_committed(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    begun = asyncio.Event()

    class Slow(Hears):
        async def hear(self, session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
            begun.set()
            await asyncio.sleep(0.2)

    async with consuming(kafka, transactions, Slow()) as consumption:
        await put(producer, value_of(uploaded()))
        await begun.wait()
    assert await consumption.questions.committed("documents", {0}) == {0: 1}


async def test_another_client_goes_on_where_the_one_that_is_replaced_has_ended(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    hears = Hears()
    async with consuming(kafka, transactions, hears) as consumption:
        await put(producer, value_of(uploaded()))
        await until(lambda: consumption.handled == 1)
        first = consumption.consumer
        assert consumption.replace_client()
        await until(lambda: consumption.consumer not in (None, first))
        await put(producer, value_of(uploaded()))
        await until(lambda: consumption.handled == 2)
    assert len(hears.facts) == 2


async def test_whoever_stops_while_a_client_is_replaced_leaves_its_group(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, stop = asyncio.Event(), GatheringConsumer.stop

    async def slowly(consumer: GatheringConsumer) -> None:
        stopping.set()
        await asyncio.sleep(0.1)
        await stop(consumer)

    monkeypatch.setattr(GatheringConsumer, "stop", slowly)
    async with consuming(kafka, transactions, Hears()) as consumption:
        await until(consumption.joined.is_set)
        assert consumption.consumer is not None
        client = consumption.consumer.consumer
        consumption.replace_client()
        await stopping.wait()
    with pytest.raises(RuntimeError, match="closed"):
        client.memberid()


async def test_a_client_is_not_replaced_while_something_is_handled(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    replaced = list[bool]()
    hears = Hears(meanwhile=lambda: replaced.append(consumption.replace_client()))
    async with consuming(kafka, transactions, hears) as consumption:
        await put(producer, value_of(uploaded()))
        await until(lambda: consumption.handled == 1)
    assert replaced == [False]


async def test_a_client_that_has_heard_of_a_log_which_is_no_more_is_replaced_once(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears, new = Hears(), list[str]()

    async def nothing(topic: str, partitions: set[int]) -> dict[int, int]:
        return {}

    async with consuming(kafka, transactions, hears, on_new_log=new.append) as consumption:
        await put(producer, value_of(uploaded()))
        await until(lambda: consumption.handled == 1)
        committed = consumption.questions.committed

        async def is_committed() -> bool:
            return await committed("documents", {0}) == {0: 1}

        await until(is_committed)
        first = consumption.consumer
        monkeypatch.setattr(consumption.questions, "committed", nothing)
        async with consuming(kafka, transactions, Hears()):
            await until(lambda: consumption.consumer not in (None, first))
            await until(consumption.joined.is_set)
            second = consumption.consumer
        await until(lambda: len(consumption.assigned) == DOCUMENTS.partitions)
        assert consumption.consumer is second
    assert new[:2] == ["documents", "documents"]


@asynccontextmanager
async def leading(port: int, servers: str) -> AsyncIterator[None]:
    """An address that leads to the broker, which then names its own."""
    host, _, real = servers.partition(",")[0].rpartition(":")

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(4096):
            target.write(piece)
        target.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, mine = await asyncio.open_connection(host, int(real))
        with suppress(OSError):
            await asyncio.gather(copy(reader, mine), copy(theirs, writer))

    server = await asyncio.start_server(lead, "127.0.0.1", port)
    yield
    server.close()


async def test_a_group_that_has_committed_nothing_finds_its_topic_new(
    kafka: str, transactions: Transactions, producer: AIOKafkaProducer
) -> None:
    new: list[str] = []

    hears = Hears()
    for _ in range(2):
        async with consuming(kafka, transactions, hears, on_new_log=new.append) as consumption:
            await until(consumption.joined.is_set)
            await put(producer, value_of(uploaded()), partition=None)
            seen = len(hears.facts)
            await until(lambda: len(hears.facts) > seen)  # noqa: B023
    assert new == ["documents"], "only the first time"


async def test_what_was_heard_is_remembered(kafka: str, transactions: Transactions, producer: AIOKafkaProducer) -> None:
    memory, hears = BrokerMemory(), Hears()
    async with consuming(kafka, transactions, hears, memory=memory) as consumption:
        for _ in range(3):
            await put(producer, value_of(uploaded(uuid4())), partition=5)
        await until(lambda: consumption.handled == 3)
    assert memory.ends("documents") == {5: 3}

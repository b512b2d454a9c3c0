"""Sending what was said, to a broker with real offsets."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from chassis.database import Sessions
from chassis.transactions import Transactions
from confluent_kafka import KafkaError, KafkaException
from contracts.envelope import Envelope
from contracts.facts import DocumentFailed, DocumentParsingStarted, Fact
from contracts.topics import TOPICS
from docqa import ports
from docqa.embedded.broker import EmbeddedKafka
from messaging import producing
from messaging import relay as relaying
from messaging.broker_access import BrokerAccess
from messaging.broker_memory import BrokerMemory
from messaging.outbox import Outbox
from messaging.producing import Outcome, Outgoing, Producer, Refused, Sent
from messaging.relay import NotTaken, Relay
from messaging.tables import DeadLetter, OutboxRow
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.messaging.tests.samples import failed, parsing_started, ready, until, uploaded

DOCUMENT = uuid4()


async def say(sessions: Sessions, *facts: Fact) -> list[UUID]:
    async with sessions.begin() as session:
        return [Outbox("some").add(session, fact) for fact in facts]


async def rows(sessions: Sessions) -> Sequence[OutboxRow]:
    async with sessions() as session:
        return (await session.scalars(select(OutboxRow).order_by(OutboxRow.id))).all()


async def unsent(sessions: Sessions) -> int:
    return sum(row.sent_at is None for row in await rows(sessions))


def a_relay(transactions: Transactions, producer: Any, **options: Any) -> Relay:
    return Relay(transactions, producer, BrokerMemory(), **options)


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[Producer]:
    producer = Producer(BrokerAccess(kafka))
    yield producer
    await producer.stop()


async def read_all(kafka: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer("documents", bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


class Broker:
    """Stands for the broker, and does as it is told."""

    def __init__(self) -> None:
        self.log: list[Outgoing] = []
        self.down = False
        self.refuses: set[bytes] = set()
        self.drops: set[int] = set()
        self.dies_after_sending = False
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self._connected = False

    def is_known(self) -> bool:
        """Whether somebody has looked for something to send."""
        return self._connected

    async def connect(self) -> None:
        self._connected = True
        if self.down:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    async def send(self, records: Sequence[Outgoing]) -> list[Outcome]:
        if not self.asked.is_set():
            self.asked.set()
            await self.gate.wait()
        outcomes = [self._take(record) for record in records]
        if self.dies_after_sending:
            raise ConnectionResetError
        return outcomes

    async def stop(self) -> None:
        pass

    def wipe(self) -> None:
        self.log.clear()

    def _take(self, record: Outgoing) -> Outcome:
        if record.key in self.refuses:
            return Refused(record.id, "MSG_SIZE_TOO_LARGE")
        if record.id in self.drops:
            self.drops.remove(record.id)
            return None
        self.log.append(record)
        return Sent(record.id, record.topic, 0, len(self.log) - 1)

    @property
    def events(self) -> list[UUID]:
        return [Envelope.parse(record.value).id for record in self.log]


# over the wire


async def test_what_was_said_arrives_in_order_with_key_trace_and_offset(
    transactions: Transactions, sessions: Sessions, producer: Producer, kafka: str
) -> None:
    document = uuid4()
    said = await say(sessions, *(uploaded(document, version=version) for version in range(1, 21)))
    await a_relay(transactions, producer).drain()
    records = await read_all(kafka, 20)
    assert [Envelope.parse(record.value).id for record in records] == said
    assert {record.key for record in records} == {str(document).encode()}
    assert dict(records[0].headers) == {
        "content-type": b"application/cloudevents+json",
        "ce_type": b"document.uploaded.v1",
    }
    assert [(row.sent_partition, row.sent_offset) for row in await rows(sessions)] == [
        (record.partition, record.offset) for record in records
    ]


async def test_a_missed_notification_delays_a_fact_by_a_look_and_no_more(
    transactions: Transactions, sessions: Sessions, producer: Producer
) -> None:
    relay = a_relay(transactions, producer)
    running = asyncio.create_task(relay.run())
    await say(sessions, uploaded())

    async def sent() -> bool:
        return await unsent(sessions) == 0

    await until(sent)
    running.cancel()


async def test_what_can_wait_goes_with_what_is_said_after_it(
    transactions: Transactions, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "PATIENCE", 60.0)
    monkeypatch.setattr(relaying, "LOOK_EVERY", 60.0)
    broker = Broker()
    relay = a_relay(transactions, broker)
    running = asyncio.create_task(relay.run())
    await until(broker.is_known)
    await say(sessions, parsing_started(DOCUMENT))
    relay.said(DocumentParsingStarted.type)
    await asyncio.sleep(0.1)
    assert broker.log == []
    await say(sessions, failed(DOCUMENT))
    relay.said(DocumentFailed.type)
    await until(lambda: len(broker.log) == 2)
    running.cancel()


async def test_what_can_wait_does_not_wait_for_long(transactions: Transactions, sessions: Sessions) -> None:
    broker = Broker()
    relay = a_relay(transactions, broker)
    running = asyncio.create_task(relay.run())
    await until(broker.is_known)
    await say(sessions, parsing_started(DOCUMENT))
    relay.said(DocumentParsingStarted.type)
    async with asyncio.timeout(relaying.LOOK_EVERY / 2):
        await until(lambda: len(broker.log) == 1)
    running.cancel()


async def test_a_record_that_the_broker_refuses_is_put_aside_and_its_neighbours_go(
    transactions: Transactions, sessions: Sessions, producer: Producer
) -> None:
    facts = [uploaded() for _ in range(3)]
    await say(sessions, *facts)
    async with sessions.begin() as session:
        # Larger than the client, let alone the broker, would ever take.
        await session.execute(
            text("UPDATE outbox SET body = convert_to(repeat('x', 2000000), 'UTF8') WHERE subject = :subject"),
            {"subject": facts[1].subject},
        )
    await a_relay(transactions, producer).drain()
    assert await unsent(sessions) == 0
    async with sessions() as session:
        (letter,) = (await session.scalars(select(DeadLetter))).all()
    assert (letter.origin, letter.reason, letter.key) == ("outbox", "fact.refused", facts[1].subject.encode())


async def test_what_was_refused_for_its_neighbour_is_sent_in_the_order_of_its_subject(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, first = list[int](), [True]

    async def batches_of_two(records: Sequence[Outgoing], _seconds: float) -> list[Outcome]:
        refused = {1, 2} if first and first.pop() else {1}  # of the batch of both, only the first is to blame
        log.extend(record.id for record in records if record.id not in refused)
        return [
            Refused(record.id, "x") if record.id in refused else Sent(record.id, "documents", 0, len(log))
            for record in records
        ]

    producer = Producer(BrokerAccess("127.0.0.1:1"))
    monkeypatch.setattr(producer, "_send_within", batches_of_two)
    keys = [b"b", b"a", b"a", b"b", b"a"]
    records = [Outgoing(row, "documents", "some", key, b"", None) for row, key in enumerate(keys)]
    outcomes = await producer.send(records)
    assert [isinstance(outcome, Sent) for outcome in outcomes] == [True, False, True, True, True]
    assert log == [0, 3, 4, 2, 4], "4 once more, behind 2"


async def test_a_broker_that_comes_back_on_the_same_address_gets_everything(
    transactions: Transactions, sessions: Sessions
) -> None:
    broker = Broker()
    broker.down = True
    relay = a_relay(transactions, broker)
    await say(sessions, uploaded(), uploaded())
    running = asyncio.create_task(relay.run())
    with pytest.raises(KafkaException):
        await relay.drain()
    broker.down = False
    await until(lambda: len(broker.log) == 2)
    running.cancel()


# order


async def test_two_relays_keep_order(
    transactions: Transactions, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "BATCH", 7)
    broker, document = Broker(), uuid4()
    said = await say(sessions, *(uploaded(document, version=version) for version in range(1, 51)))
    broker.gate.clear()
    one = asyncio.create_task(a_relay(transactions, broker).drain())
    await broker.asked.wait()

    async def send(relay: Relay) -> None:
        while await unsent(sessions):
            await relay.drain()

    # While the first one's send is under way, the second one can only wait for it.
    two = asyncio.create_task(send(a_relay(transactions, broker)))
    await until(lambda: is_somebody_waiting(sessions))
    broker.gate.set()
    await asyncio.gather(one, two)
    assert broker.events == said


async def is_somebody_waiting(sessions: Sessions) -> bool:
    waiting = text(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with sessions() as session:
        return bool(await session.scalar(waiting))


async def test_what_follows_an_unsent_fact_about_the_same_subject_is_sent_again_behind_it(
    transactions: Transactions, sessions: Sessions
) -> None:
    broker, document = Broker(), uuid4()
    first, second, other = await say(sessions, uploaded(document), ready(document), uploaded())
    broker.drops = {(await rows(sessions))[0].id}
    relay = a_relay(transactions, broker)
    with pytest.raises(NotTaken):
        await relay.drain()
    assert [row.sent_at is None for row in await rows(sessions)] == [True, True, False]
    await relay.drain()
    assert broker.events == [second, other, first, second]


async def test_what_the_broker_does_not_take_keeps_nothing_from_what_is_about_others(
    transactions: Transactions, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when one partition has no leader: what waits for it may be more than a batch."""
    monkeypatch.setattr(relaying, "BATCH", 2)
    broker, document = Broker(), uuid4()
    waiting = await say(sessions, *(uploaded(document, version=version) for version in range(1, 4)))
    (other,) = await say(sessions, uploaded())
    broker.drops = {row.id for row in (await rows(sessions))[:2]}
    relay = a_relay(transactions, broker)
    with pytest.raises(NotTaken):
        await relay.drain()
    assert broker.events == [other]
    await relay.drain()
    assert broker.events == [other, *waiting]


async def test_a_relay_that_dies_before_its_commit_sends_again_with_the_same_ids(
    transactions: Transactions, sessions: Sessions
) -> None:
    broker = Broker()
    said = await say(sessions, uploaded())
    broker.dies_after_sending = True
    with pytest.raises(ConnectionResetError):
        await a_relay(transactions, broker).drain()
    broker.dies_after_sending = False
    await a_relay(transactions, broker).drain()
    assert broker.events == said * 2
    assert await unsent(sessions) == 0


# a broker that forgot


async def test_kept_facts_are_said_again_to_a_broker_that_lost_its_records(
    transactions: Transactions, sessions: Sessions
) -> None:
    broker, wiped = Broker(), []

    async def on_wiped() -> None:
        wiped.append(True)

    relay = a_relay(transactions, broker, on_wiped=on_wiped)
    _, end, failure = await say(sessions, uploaded(), ready(), failed())
    await relay.drain()
    broker.wipe()
    (new,) = await say(sessions, uploaded())
    await relay.drain()
    await relay.drain()
    assert broker.events == [new, end, failure], "with the ids that they had"
    assert wiped == [True]
    await say(sessions, uploaded())
    await relay.drain()
    assert len(broker.log) == 4, "once is enough"


async def test_where_facts_lay_in_a_log_that_is_no_more_is_forgotten_for_good(
    transactions: Transactions, sessions: Sessions
) -> None:
    broker = Broker()
    await say(sessions, *(uploaded() for _ in range(9)), ready())
    await a_relay(transactions, broker).drain()
    broker.wipe()
    await say(sessions, uploaded())
    relay = a_relay(transactions, broker)
    for _ in range(2):  # as after a hiccup of its broker
        await relay._remember()
        await relay.drain()
    assert len(broker.log) == 2
    (new,) = await say(sessions, uploaded())
    restarted = a_relay(transactions, broker)
    await restarted._remember()
    for _ in range(2):
        await restarted.drain()
    assert broker.events[2:] == [new]


async def test_a_relay_remembers_the_offsets_across_a_restart(transactions: Transactions, sessions: Sessions) -> None:
    broker = Broker()
    await say(sessions, ready(), ready())
    await a_relay(transactions, broker).drain()
    broker.wipe()
    await say(sessions, uploaded())
    restarted = a_relay(transactions, broker)
    running = asyncio.create_task(restarted.run())
    await until(lambda: len(broker.log) == 3)
    running.cancel()


async def test_a_topic_found_new_gets_the_kept_facts_again(transactions: Transactions, sessions: Sessions) -> None:
    broker = Broker()
    relay = a_relay(transactions, broker)
    first, end = await say(sessions, uploaded(), ready())
    await relay.drain()
    relay.broker_lost("users")
    await relay.drain()
    assert len(broker.log) == 2
    relay.broker_lost("documents")
    await relay.drain()
    assert broker.events == [first, end, end]


async def test_a_real_broker_that_is_emptied_gets_the_kept_facts_again(
    transactions: Transactions, sessions: Sessions
) -> None:
    partitions = {topic.name: topic.partitions for topic in TOPICS}
    memory, said = BrokerMemory(), []
    for _ in range(2):
        with EmbeddedKafka(partitions) as broker:
            producer = Producer(BrokerAccess(broker.bootstrap_servers))
            relay = Relay(transactions, producer, memory)
            said += await say(sessions, *(ready(DOCUMENT) for _ in range(3)))
            await relay.drain()
            await relay.drain()
            await producer.stop()
            heard = [Envelope.parse(record.value).id for record in await read_all(broker.bootstrap_servers, len(said))]
    assert sorted(heard) == sorted(said)


async def test_a_client_that_gets_no_answer_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = ports.free(1)
    producer = Producer(BrokerAccess(f"127.0.0.1:{port}"))
    clients = list[object]()
    for patience in (3600.0, 3600.0, 0.0, 3600.0):
        monkeypatch.setattr(producing, "FORLORN_SECONDS", patience)
        with pytest.raises(KafkaException):
            await producer.connect()
        clients.append(producer._producer)
    await producer.stop()
    first, same, none, second = clients
    assert same is first
    assert none is None
    assert second not in (None, first)


def test_memory_keeps_what_was_given_apart_from_what_was_heard() -> None:
    memory = BrokerMemory()
    memory.heard("documents", 0, 12)
    assert not memory.contradicts("documents", 0, 10), "others may have heard later records already"
    memory.given("documents", 0, 10)
    assert memory.contradicts("documents", 0, 10)
    assert not memory.contradicts("documents", 1, 0)
    assert memory.ends("documents") == {0: 13}
    memory.forget("documents")
    assert memory.ends("documents") == {}


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("another operation is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        DBAPIError("SELECT", None, OSError()),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_relay_outlives_whatever_its_database_raises(
    error: Exception, transactions: Transactions, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, troubles = transactions.begin, [error]

    def begin_or_fail() -> AbstractAsyncContextManager[AsyncSession]:
        if troubles:
            raise troubles.pop()
        return begin()

    monkeypatch.setattr(transactions, "begin", begin_or_fail)
    broker, blamed = Broker(), list[bool]()
    said = await say(sessions, uploaded())
    relay = a_relay(transactions, broker, on_trouble=lambda: blamed.append(True))
    running = asyncio.create_task(relay.run())
    await until(lambda: broker.events == said)
    running.cancel()
    assert not blamed, "it is not the broker that is away"

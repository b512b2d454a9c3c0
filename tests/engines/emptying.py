"""Brokers seen from outside: whether one answers, and how one that others used before becomes as empty as a new one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from contracts.topics import TOPICS
from messaging import topics
from messaging.broker_access import BrokerAccess

ANSWERS_WITHIN = 3.0
EMPTIED_WITHIN = 30.0
LOOK_EVERY = 0.05


async def broker_answers(bootstrap_servers: str) -> bool:
    """Whether a broker that can be worked with answers there."""
    host, _, port = bootstrap_servers.partition(",")[0].rpartition(":")
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            async with _admin(bootstrap_servers) as admin:
                return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False


async def emptied(bootstrap_servers: str) -> None:
    """Our topics are there and hold nothing, and nothing is remembered of who read what."""
    ours = {topic.name for topic in TOPICS}
    async with asyncio.timeout(EMPTIED_WITHIN), _admin(bootstrap_servers) as admin:
        if there := ours & set(await admin.list_topics()):
            # With a topic the broker forgets what groups have committed of it.
            await admin.delete_topics(list(there))
        await _until(lambda: _none_there(admin, ours))
        await topics.ensure(BrokerAccess(bootstrap_servers))
        await _until(lambda: _all_led(admin, ours))
        await _all_answer(bootstrap_servers)


@asynccontextmanager
async def _admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers.split(","), request_timeout_ms=5000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _all_answer(bootstrap_servers: str) -> None:
    """Asks until every partition is served: a broker names itself the leader a moment before it acts as one."""
    places = [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers.split(","))
    try:
        await consumer.start()
        await consumer.end_offsets(places)
    finally:
        await consumer.stop()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(LOOK_EVERY)


async def _none_there(admin: AIOKafkaAdminClient, names: set[str]) -> bool:
    return not names & set(await admin.list_topics())


async def _all_led(admin: AIOKafkaAdminClient, names: set[str]) -> bool:
    described = {topic["topic"]: topic for topic in await admin.describe_topics()}
    return all(
        name in described
        and not for_code(described[name]["error_code"])().errno
        and all(partition["leader"] >= 0 for partition in described[name]["partitions"])
        for name in names
    )

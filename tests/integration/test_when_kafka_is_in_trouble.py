"""What happens to Kafka is no user's loss: uploads are taken meanwhile, and afterwards all is as it should be."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from contracts.topics import DOCUMENTS

from tests.e2e.person import Person
from tests.engines.choosing import Broker
from tests.integration.auditing import mistakes
from tests.integration.cluster import Cluster
from tests.integration.people import all_ready, owner_of, uploads

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

seeds = itertools.count(10_000)

Harm = Callable[[Broker], Awaitable[None]]

PAUSE = 0.5
"""Seconds between two uploads while the broker comes to harm."""


async def restarted(broker: Broker) -> None:
    await broker.stop()
    await asyncio.sleep(2)
    await broker.start()


async def killed(broker: Broker) -> None:
    await broker.kill()
    await broker.start()


async def stopped_for_10_seconds(broker: Broker) -> None:
    await broker.pause()
    await asyncio.sleep(10)
    await broker.resume()


async def wiped(broker: Broker) -> None:
    await broker.wipe()


async def robbed_of_the_topic(broker: Broker) -> None:
    """As one whose topic has had several leaders: that of the new one begins to count anew."""
    await killed(broker)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([DOCUMENTS.name])
    finally:
        await admin.close()


FORGETFUL = {wiped, robbed_of_the_topic}
"""What leaves a topic in which not everything stands any more."""


@pytest.mark.parametrize("harm", [restarted, killed, stopped_for_10_seconds, wiped, robbed_of_the_topic])
async def test_nothing_is_lost_and_nobody_has_to_be_started_again(scaled: Cluster, broker: Broker, harm: Harm) -> None:
    processes = scaled.processes
    async with Person(scaled.stack.url) as ada:
        await ada.signs_up()
        documents = await uploads([ada], [next(seeds) for _ in range(6)])
        harming = asyncio.ensure_future(harm(broker))
        while not harming.done():
            documents |= await uploads([ada], [next(seeds)])
            await asyncio.sleep(PAUSE)
        await harming
        documents |= await uploads([ada], [next(seeds) for _ in range(3)])

        await all_ready(ada, len(documents))

        whole = harm not in FORGETFUL
        assert await mistakes(scaled, owner_of(ada), documents.values(), log_is_whole=whole) == []
        assert scaled.processes == processes, scaled.last_words

"""What happens to Kafka is no user's loss: uploads are taken meanwhile, and afterwards all is as it should be."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.e2e.person import Person
from tests.engines.choosing import Broker
from tests.integration.cluster import Cluster, mistakes
from tests.integration.readers import all_ready, owner_of, uploads

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

seeds = itertools.count(10_000)

Harm = Callable[[Broker], Awaitable[None]]


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


@pytest.mark.parametrize("harm", [restarted, killed, stopped_for_10_seconds, wiped])
async def test_nothing_is_lost_and_nobody_has_to_be_started_again(scaled: Cluster, broker: Broker, harm: Harm) -> None:
    processes = scaled.processes
    async with Person(scaled.stack.url) as ada:
        await ada.signs_up()
        documents = list((await uploads([ada], [next(seeds) for _ in range(6)])).values())
        harming = asyncio.ensure_future(harm(broker))
        while not harming.done():
            documents += (await uploads([ada], [next(seeds)])).values()
            await asyncio.sleep(0.5)
        await harming
        documents += (await uploads([ada], [next(seeds) for _ in range(3)])).values()

        await all_ready(ada, documents, within=90)

        assert await mistakes(scaled, owner_of(ada), documents) == []
        assert scaled.processes == processes

"""One cluster for all: the services on real engines, several times, and a Kafka of their own that may come to harm."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from docqa.stack import Stack

from tests.engines.addresses import Addresses
from tests.engines.choosing import Broker, own_broker
from tests.engines.emptying import emptied
from tests.engines.missing import EngineMissing
from tests.integration.cluster import REPLICAS, Cluster, told_of
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub

# Without a Kafka that keeps what it is told there is nothing to see here: `make test-integration` brings one.
collect_ignore_glob = [] if Addresses.of(os.environ).kafka else ["test_*.py"]

CALL_TAKES = Behaviour(delay=0.2)
"""As a provider does: so batches overlap, and whoever dies dies in the midst of one."""


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def _own_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker | EngineMissing]:
    try:
        async with own_broker(tmp_path_factory.mktemp("broker")) as broker:
            yield broker
    except EngineMissing as missing:
        yield missing


@pytest.fixture(scope="package")
def broker(_own_broker: Broker | EngineMissing) -> Broker:
    """The cluster's Kafka, to do harm to."""
    if isinstance(_own_broker, EngineMissing):
        pytest.skip(f"NOT TESTED: the Kafka that is given must not come to harm, and for one of our own {_own_broker}")
    return _own_broker


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def cluster(
    _own_broker: Broker | EngineMissing, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """One of each service; add others."""
    given = Addresses.of(os.environ)
    user = await given.for_a_stack()
    if not isinstance(_own_broker, EngineMissing):
        user["DOCQA_KAFKA"] = _own_broker.bootstrap_servers
    elif given.kafka:
        await emptied(given.kafka)
    provider = OpenAIStub()
    user |= told_of(provider)
    try:
        async with Stack(tmp_path_factory.mktemp("cluster"), user=user) as stack:
            cluster = Cluster(stack, user, provider)
            try:
                yield cluster
            finally:
                await cluster.close()
    finally:
        provider.close()


@pytest.fixture(autouse=True)
def _usual(cluster: Cluster) -> None:
    cluster.provider.embeddings.usual = CALL_TAKES


@pytest_asyncio.fixture(loop_scope="session")
async def scaled(cluster: Cluster) -> Cluster:
    """Two and more of each: four embedders, two of every other service."""
    await cluster.scale(REPLICAS)
    return cluster

"""One stack for all who come to the front door: what `make run` starts, on engines that the environment may name."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from docqa import ports
from docqa.stack import Stack

from tests.engines.addresses import Addresses
from tests.engines.emptying import emptied


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    given = Addresses.of(os.environ)
    if given.kafka:
        await emptied(given.kafka)
    (port,) = ports.free(1)  # the same after a restart
    async with Stack(tmp_path_factory.mktemp("stack"), port=port, user=await given.for_a_stack()) as running:
        yield running

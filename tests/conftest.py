"""One stack for all who come to the front door: what `make run` starts, on engines that the environment may name."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from docqa import ports
from docqa.stack import Stack

from tests.engines.addresses import Addresses
from tests.engines.emptying import emptied

SHARING = {"e2e": "stack", "security": "stack", "architecture": "sources"}
"""What the tests of a room share with each other, and one process has to make only once."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests are shared out among processes, those that share something stay together in one of them."""
    here = Path(__file__).parent
    for item in items:
        for room, shared in SHARING.items():
            if item.path.is_relative_to(here / room):
                item.add_marker(pytest.mark.xdist_group(shared))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    given = Addresses.of(os.environ)
    if given.kafka:
        await emptied(given.kafka)
    (port,) = ports.free(1)  # the same after a restart
    async with Stack(tmp_path_factory.mktemp("stack"), port=port, user=await given.for_a_stack()) as running:
        yield running

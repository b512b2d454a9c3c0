"""One embedded stack for all journeys: the one that `make run` starts."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from docqa import ports
from docqa.stack import Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    (port,) = ports.free(1)  # the same after a restart
    async with Stack(tmp_path_factory.mktemp("stack"), port=port, user={}) as running:
        yield running

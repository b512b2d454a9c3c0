from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from chassis.database import create_engine
from chassis.local_files import LocalFiles
from embedder.settings import EmbedderSettings
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from services.embedder.tests.at_work import AtWork
from tests.stubs.providers import OpenAIStub

OPERATOR = "an-operator-token-0123456789-abcdefghij"


@pytest.fixture
async def database_url(database: Callable[[str], Awaitable[str]]) -> str:
    return await database("embedder")


@pytest.fixture
def settings(database_url: str, chroma: str, openai_stub: OpenAIStub, tmp_path: Path) -> EmbedderSettings:
    """With a remote model and few shards: what is tested does not depend on their number, only the time does."""
    return EmbedderSettings(
        port=0,
        database_url=database_url,
        kafka="127.0.0.1:1",
        auth_url="http://127.0.0.1:1",
        object_store=f"file://{tmp_path}/objects",
        chroma_url=chroma,
        embedding_model="openai:text-embedding-3-small",
        embedding_dimension=64,
        openai_base_url=openai_stub.base_url,
        openai_api_key=SecretStr(openai_stub.api_key),
        operator_token=SecretStr(OPERATOR),
        provider_timeout=30,
        shards=3,
    )


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def embedder(settings: EmbedderSettings, engine: AsyncEngine, object_store: LocalFiles) -> AsyncIterator[AtWork]:
    """With an index that answers."""
    at_work = AtWork(settings, engine, object_store)
    async with at_work.parts.keeper.running():
        yield at_work
    for index in (await at_work.indexes()).values():
        await at_work.parts.shards.drop(index)
    await at_work.close()

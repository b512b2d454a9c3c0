from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from chassis.database import create_engine
from chassis.local_files import LocalFiles
from ingest.extraction import Extraction
from ingest.limits import Limits
from ingest.readers import Readers
from ingest.reading import PDF, Engine
from ingest.settings import IngestSettings
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.tests.at_work import AtWork, ReadersHere

LIMITS = Limits(max_pages=5000, max_characters=60_000_000, cpu_seconds=20, wall_seconds=40, memory_bytes=1 << 30)


@pytest.fixture
def limits() -> Limits:
    return LIMITS


@pytest.fixture
def extraction(tmp_path: Path, limits: Limits) -> Callable[..., Extraction]:
    """`extraction(b"…", media_type=…)`: an order to read these bytes."""

    def make(raw: bytes, **changes: object) -> Extraction:
        folder = tmp_path / f"reading-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "raw").write_bytes(raw)
        usual = Extraction(
            folder=folder,
            filename="a.pdf",
            media_type=PDF,
            engine=Engine.PDFIUM,
            chunk_size=1000,
            chunk_overlap=150,
            limits=limits,
        )
        return replace(usual, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers(Engine.PDFIUM)
    async with readers.running():
        yield readers


@pytest.fixture
async def database_url(database: Callable[[str], Awaitable[str]]) -> str:
    return await database("ingest")


@pytest.fixture
def settings(database_url: str, kafka: str, tmp_path: Path) -> IngestSettings:
    return IngestSettings(
        port=0,
        database_url=database_url,
        kafka=kafka,
        auth_url="http://127.0.0.1:1",
        object_store=f"file://{tmp_path}/objects",
        chunk_size=200,
        chunk_overlap=40,
    )


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def ingest(settings: IngestSettings, engine: AsyncEngine, object_store: LocalFiles) -> AtWork:
    return AtWork(settings, engine, object_store, ReadersHere())

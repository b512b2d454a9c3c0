"""Reading batches: once for all that come together, and checked as a whole however long the file is."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from chassis.failures import Transient
from chassis.local_files import LocalFiles
from contracts.objects import chunks_key
from embedder.chunk_files import AT_ONCE, CHANGED, ChunkFiles
from embedder.repository import Run

from services.embedder.tests.at_work import Document, a_document


class CountingFiles(LocalFiles):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[int, int]] = []

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.reads.append((start, length))
        return await super().read(key, start, length)


@pytest.fixture
def store(tmp_path: Path) -> CountingFiles:
    return CountingFiles(tmp_path / "objects")


async def stored(store: LocalFiles, document: Document, content: bytes | None = None) -> Run:
    """The run of a document whose chunks file has this content, or its own."""

    async def pieces() -> AsyncIterator[bytes]:
        yield content or document.content

    await store.put(chunks_key(document.owner, document.id, 1, 1), pieces())
    return Run(
        document_id=document.id,
        version=1,
        owner_id=document.owner,
        attempt=1,
        round=0,
        pages=None,
        chunk_count=len(document.texts),
        chunks_sha256=sha256(document.content).hexdigest(),
        total=-(-len(document.texts) // 64),
    )


async def test_batches_that_come_together_are_read_at_once(store: CountingFiles) -> None:
    document = a_document(chunks=200)
    run, files = await stored(store, document), ChunkFiles(store)
    batches = await asyncio.gather(*(files.batch(run, number) for number in range(4)))
    assert [chunk.text for batch in batches for chunk in batch] == document.texts
    assert store.reads == [(0, AT_ONCE)]


async def test_a_batch_that_comes_later_is_read_by_its_range(store: CountingFiles) -> None:
    document = a_document(chunks=200)
    run, files = await stored(store, document), ChunkFiles(store)
    await files.batch(run, 0)
    assert [chunk.text for chunk in await files.batch(run, 2)] == document.texts[128:192]
    (_, (start, length)) = store.reads
    assert 0 < start < start + length < len(document.content)


async def test_a_file_longer_than_one_read_is_checked_to_its_end(store: CountingFiles) -> None:
    document = Document([f"{number} " + "heron " * 2000 for number in range(200)])
    assert len(document.content) > 2 * AT_ONCE
    run, files = await stored(store, document), ChunkFiles(store)
    batches = await asyncio.gather(*(files.batch(run, number) for number in range(4)))
    assert [chunk.text for batch in batches for chunk in batch] == document.texts

    other = await stored(store, document, document.content[:-3] + b"x}\n")
    with pytest.raises(Transient) as refused:
        await ChunkFiles(store).batch(other, 0)
    assert refused.value.code == CHANGED

import os
import time

import pytest
from chassis.local_files import LocalFiles
from contracts.objects import chunks_key
from ingest import tidying

from services.ingest.tests.at_work import AtWork, Document

LONG_AGO = time.time() - tidying.AGE.total_seconds() - 60


def a_text() -> Document:
    return Document(b"A text.", media_type="text/plain", filename="a.txt")


def make_old(store: LocalFiles) -> None:
    for file in store._root.rglob("*"):
        if file.is_file():
            os.utime(file, (LONG_AGO, LONG_AGO))


async def remove_orphans(ingest: AtWork) -> None:
    async with ingest.sessions() as session:
        await tidying.remove_orphans(session, store=ingest.store)


async def test_a_chunks_file_without_a_row_is_removed_after_a_day(ingest: AtWork, object_store: LocalFiles) -> None:
    document, unknown = a_text(), a_text()
    await ingest.upload(document)
    await ingest.put(chunks_key(document.owner, document.id, 1, 0), b"an attempt that died")
    await ingest.put(chunks_key(document.owner, document.id, 7, 1), b"a version that never was")
    await ingest.put(chunks_key(unknown.owner, unknown.id, 1, 1), b"a document that never was")
    await remove_orphans(ingest)
    assert len(await ingest.objects(document)) == 3

    make_old(object_store)
    await remove_orphans(ingest)
    assert await ingest.objects(document) == {"v1/chunks.1.jsonl"}
    assert await ingest.objects(unknown) == set()


async def test_what_is_not_ours_is_left_alone(ingest: AtWork, object_store: LocalFiles) -> None:
    document = a_text()
    await ingest.store_upload(document)
    make_old(object_store)
    await remove_orphans(ingest)

    left = [stored.key.rpartition("/")[2] async for stored in object_store.list(f"users/{document.owner}/")]
    assert sorted(left) == ["about.json", "raw"]


async def test_many_orphans_are_removed_in_portions(
    ingest: AtWork, object_store: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = a_text()
    for attempt in range(tidying.AT_ONCE + 3):
        await ingest.put(chunks_key(document.owner, document.id, 1, attempt), b"x")
    make_old(object_store)
    await remove_orphans(ingest)

    assert await ingest.objects(document) == set()

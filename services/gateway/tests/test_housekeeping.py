"""What has had its time is removed, and nothing else."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from chassis import metrics
from contracts.objects import raw_key
from gateway.counting import Counting
from gateway.housekeeping import prune_keys, prune_links, remove_orphans
from gateway.main import chores
from gateway.reconciling import Reconcile
from messaging.outbox import Outbox
from sqlalchemy import text

from .front_door import Gateway, Person
from .test_reconciling import PATIENCE

DAY = timedelta(days=1)


async def one(content: bytes) -> Any:
    yield content


def grow_old(root: Path) -> None:
    """Every object there is now was stored two days ago."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, times=(time.time() - 2 * 86400,) * 2)


async def test_old_objects_without_a_row_are_removed(gateway: Gateway, ada: Person, tmp_path: Path) -> None:
    kept = await ada.has_uploaded("kept.txt", b"kept")
    deleting = await ada.has_uploaded("deleting.txt", b"deleting")
    await ada.http.delete(f"/api/docs/{deleting}")
    await gateway.store.put(raw_key(ada.id, uuid4()), one(b"from a gateway that died"))
    await gateway.store.put("users/odd/key", one(b"not ours to judge"))
    await gateway.store.put("users/x/documents/y/raw", one(b"not ours to judge"))
    grow_old(tmp_path / "objects")
    await gateway.store.put(raw_key(ada.id, fresh := uuid4()), one(b"of an upload that is running"))

    async with gateway.sessions() as session:
        await remove_orphans(session, store=gateway.store, older_than=DAY)

    left = await gateway.objects()
    assert {key.split("/")[3] for key in left if key.startswith(f"users/{ada.id}/")} == {
        str(kept), str(deleting), str(fresh)
    }  # fmt: skip
    assert len(left) == 7


async def test_keys_are_remembered_for_a_day(gateway: Gateway, ada: Person) -> None:
    file = ("a.txt", b"a", "text/plain")
    await ada.upload(file, **{"Idempotency-Key": "old"})
    async with gateway.sessions.begin() as session:
        await session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
    await ada.upload(file, **{"Idempotency-Key": "new"})

    async with gateway.sessions.begin() as session:
        await prune_keys(session, remembered=DAY)

    async with gateway.sessions() as session:
        assert (await session.scalars(text("SELECT key FROM idempotency_keys"))).all() == ["new"]


async def test_expired_links_are_removed(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await ada.http.post(f"/api/docs/{document}/raw-link")
    async with gateway.sessions.begin() as session:
        await session.execute(text("UPDATE raw_links SET expires_at = now() - interval '1 second'"))
    await ada.http.post(f"/api/docs/{document}/raw-link")

    async with gateway.sessions.begin() as session:
        await prune_links(session)

    async with gateway.sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM raw_links")) == 1


async def test_documents_are_counted_by_status(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await ada.has_uploaded("b.txt", b"b")
    await gateway.becomes_ready(ada.id, document)

    await Counting(sessions=gateway.sessions).count()

    counts = {status: metrics.DOCUMENTS.labels(status)._value.get() for status in ("uploaded", "ready", "failed")}
    assert counts == {"uploaded": 1, "ready": 1, "failed": 0}


async def test_every_chore_runs(gateway: Gateway) -> None:
    reconcile = Reconcile(sessions=gateway.sessions, outbox=Outbox("gateway"), patience=PATIENCE)
    for chore in chores(gateway.settings, store=gateway.store, reconcile=reconcile):
        async with gateway.sessions.begin() as session:
            await chore.run(session)

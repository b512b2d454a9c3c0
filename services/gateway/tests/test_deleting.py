"""Deleting: hidden at once, erased in four stores, proved by a receipt."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from chassis.failures import Transient
from contracts.facts import DocumentDeleted, DocumentPurged, DocumentUploaded
from gateway.purging import Purge, Sweep
from messaging import fences
from messaging.outbox import Outbox
from messaging.tables import JobRow
from sqlalchemy import select

from .front_door import Gateway, Person, a_life, failed, purged

OUTBOX = Outbox("gateway")


def purge(gateway: Gateway) -> Purge:
    sweeps = [timedelta(seconds=600), timedelta(hours=1)]
    return Purge(sessions=gateway.sessions, store=gateway.store, outbox=OUTBOX, sweeps=sweeps)


async def receipt(person: Person, deletion: str | UUID) -> dict[str, Any]:
    answer = await person.http.get(f"/api/deletions/{deletion}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def has_deleted(person: Person, document: UUID) -> UUID:
    answer = await person.http.delete(f"/api/docs/{document}")
    assert answer.status_code == 202, answer.text
    assert answer.json()["document_id"] == str(document)
    return UUID(answer.json()["deletion_id"])


async def test_a_deleted_document_is_erased_everywhere_and_proved(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.becomes_ready(ada.id, document)

    deletion = await has_deleted(ada, document)

    [said] = await gateway.said(DocumentDeleted)
    assert (said.document_id, said.deletion_id, said.owner_id) == (document, deletion, ada.id)
    assert (await receipt(ada, deletion))["stores"] == {}
    await gateway.work(purge(gateway))
    await gateway.is_erased_elsewhere(ada.id, document, deletion)
    shown = await receipt(ada, deletion)
    assert shown["document_id"] == str(document)
    assert shown["completed_at"] is not None
    assert shown["verified_at"] is None
    assert set(shown["stores"]) == {"ingest", "embedder", "qa", "files"}
    assert {name: store["erased"] for name, store in shown["stores"].items()}["files"] == 2
    assert all(store["remaining"] == 0 for store in shown["stores"].values())
    assert await gateway.objects() == []


async def test_once_the_receipt_is_complete_there_is_nothing_but_the_receipt(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    deletion = await has_deleted(ada, document)
    await gateway.work(purge(gateway))
    await gateway.is_erased_elsewhere(ada.id, document, deletion)

    for method, path in (("GET", ""), ("GET", "/timeline"), ("GET", "/raw"), ("DELETE", ""), ("POST", "/reprocess")):
        answer = await ada.http.request(method, f"/api/docs/{document}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "document.not_found")
    assert (await ada.http.get("/api/docs")).json()["items"] == []
    assert (await receipt(ada, deletion))["completed_at"] is not None


async def test_a_receipt_waits_for_each_store(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    deletion = await has_deleted(ada, document)
    await gateway.work(purge(gateway))

    for service in ("embedder", "qa"):
        await gateway.hear(purged(ada.id, document, deletion, service=service))
        assert (await receipt(ada, deletion))["completed_at"] is None
        assert (await ada.document(document))["status"] == "deleting"
    await gateway.hear(purged(ada.id, document, deletion, service="ingest", remaining=1))
    assert (await receipt(ada, deletion))["completed_at"] is None
    await gateway.hear(purged(ada.id, document, deletion, service="ingest"))
    assert (await receipt(ada, deletion))["completed_at"] is not None


async def test_a_receipt_heard_again_changes_nothing(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    deletion = await has_deleted(ada, document)
    await gateway.work(purge(gateway))
    await gateway.is_erased_elsewhere(ada.id, document, deletion)
    before = await receipt(ada, deletion)

    await gateway.is_erased_elsewhere(ada.id, document, deletion, erased=0)
    await gateway.hear(*await gateway.said(DocumentPurged))

    assert await receipt(ada, deletion) == before


async def test_receipts_of_nothing_we_deleted_are_ignored(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    deletion = await has_deleted(ada, document)

    await gateway.is_erased_elsewhere(ada.id, uuid4(), deletion)
    await gateway.is_erased_elsewhere(ada.id, document, uuid4())

    assert (await receipt(ada, deletion))["stores"] == {}


async def test_the_sweeper_counts_again_and_the_receipt_is_verified(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    deletion = await has_deleted(ada, document)
    await gateway.work(purge(gateway))
    await gateway.is_erased_elsewhere(ada.id, document, deletion)
    await gateway.store.put(f"users/{ada.id}/documents/{document}/v1/chunks.9.jsonl", one(b"a late writer's"))

    assert await gateway.work(Sweep(store=gateway.store, outbox=OUTBOX)) == 2

    assert await gateway.objects() == []
    assert (await receipt(ada, deletion))["verified_at"] is None
    await gateway.is_erased_elsewhere(ada.id, document, deletion, erased=0, verified=True)
    assert (await receipt(ada, deletion))["verified_at"] is not None
    assert [fact.erased for fact in await gateway.said(DocumentPurged) if fact.verified] == [1, 0]


async def test_the_sweeps_are_spread_over_time(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await has_deleted(ada, document)
    await gateway.work(purge(gateway))

    async with gateway.sessions() as session:
        rows = await session.scalars(select(JobRow).where(JobRow.kind == "sweep").order_by(JobRow.part))
        waits = [round((row.available_at - row.added_at).total_seconds()) for row in rows]
    assert waits == [600, 3600]


async def test_a_purge_that_is_taken_up_again_tells_what_there_was_at_first(gateway: Gateway, ada: Person) -> None:
    class Stubborn:
        """Keeps one object at the first try."""

        tries = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(gateway.store, name)

        async def delete_prefix(self, prefix: str) -> int:
            self.tries += 1
            if self.tries > 1:
                return await gateway.store.delete_prefix(prefix)
            return int(await gateway.store.delete(f"{prefix}raw"))

    document = await ada.has_uploaded()
    deletion = await has_deleted(ada, document)
    work = Purge(sessions=gateway.sessions, store=Stubborn(), outbox=OUTBOX, sweeps=())

    with pytest.raises(Transient, match="still there"):
        await gateway.work(work)
    await gateway.work(work)

    assert (await receipt(ada, deletion))["stores"]["files"]["erased"] == 2


async def test_deleting_again_gives_the_same_receipt_until_it_is_complete(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()

    assert await has_deleted(ada, document) == await has_deleted(ada, document)
    assert len(await gateway.said(DocumentDeleted)) == 1


async def test_many_are_deleted_at_once_and_unknown_ones_named(gateway: Gateway, ada: Person, bob: Person) -> None:
    first, second = await ada.has_uploaded("a.txt", b"a"), await ada.has_uploaded("b.txt", b"b")
    foreign, never = await bob.has_uploaded(), uuid4()

    ids = [str(id_) for id_ in (second, foreign, first, never, second)]
    answer = await ada.http.post("/api/docs/delete", json={"ids": ids})

    assert answer.status_code == 202
    assert [item["document_id"] for item in answer.json()["items"]] == [str(second), str(first)]
    assert answer.json()["not_found"] == [str(foreign), str(never)]
    assert (await bob.document(foreign))["status"] == "uploaded"
    async with gateway.sessions() as session:
        assert await fences.read(session, never) is None


@pytest.mark.parametrize(
    "body", [{}, {"ids": []}, {"ids": ["x"]}, {"ids": [str(uuid4())] * 101}, {"ids": [1]}, {"ids": [], "all": True}]
)
async def test_a_list_that_makes_no_sense_is_refused(ada: Person, body: dict[str, Any]) -> None:
    assert (await ada.http.post("/api/docs/delete", json=body)).status_code == 422


@pytest.mark.parametrize("state", ["uploaded", "embedding", "ready", "failed"])
async def test_a_document_can_be_deleted_in_any_state(gateway: Gateway, ada: Person, state: str) -> None:
    document = await ada.has_uploaded()
    if state == "failed":
        await gateway.hear(failed(ada.id, document))
    else:
        await gateway.hear(*a_life(ada.id, document)[: {"uploaded": 0, "embedding": 1, "ready": 3}[state]])
    assert (await ada.document(document))["status"] == state

    await has_deleted(ada, document)

    await gateway.becomes_ready(ada.id, document)
    assert (await ada.document(document))["status"] == "deleting"


async def test_ready_and_delete_at_once_end_in_deleting(gateway: Gateway, ada: Person) -> None:
    for number in range(5):
        document = await ada.has_uploaded(f"{number}.txt", str(number).encode())
        await asyncio.gather(gateway.becomes_ready(ada.id, document), has_deleted(ada, document))
        assert (await ada.document(document))["status"] == "deleting"


async def test_deletes_at_once_in_any_order_do_not_deadlock(gateway: Gateway, ada: Person) -> None:
    ids = [str(await ada.has_uploaded(f"{n}.txt", str(n).encode())) for n in range(8)]

    answers = await asyncio.gather(
        *(ada.http.post("/api/docs/delete", json={"ids": ids[n:] + ids[:n]}) for n in range(8))
    )

    assert [answer.status_code for answer in answers] == [202] * 8
    assert len(await gateway.said(DocumentDeleted)) == 8


async def test_a_deletion_fences_the_document(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await has_deleted(ada, document)

    async with gateway.sessions() as session:
        fence = await fences.read(session, document)
    assert fence is not None
    assert fence.is_deleted


async def test_reprocessing_says_the_next_version_while_the_old_one_answers(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.becomes_ready(ada.id, document)

    answer = await ada.http.post(f"/api/docs/{document}/reprocess")

    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["status"], shown["version"], shown["live_version"]) == ("uploaded", 2, 1)
    assert (shown["pages"], shown["chunk_count"], shown["embedded_count"]) == (None, None, 0)
    assert [fact.version for fact in await gateway.said(DocumentUploaded)] == [1, 2]
    await gateway.becomes_ready(ada.id, document, version=2)
    assert (await ada.document(document))["live_version"] == 2


@pytest.mark.parametrize("state", ["uploaded", "deleting"])
async def test_a_busy_document_cannot_be_reprocessed(gateway: Gateway, ada: Person, state: str) -> None:
    document = await ada.has_uploaded()
    if state == "deleting":
        await has_deleted(ada, document)

    answer = await ada.http.post(f"/api/docs/{document}/reprocess")

    assert (answer.status_code, answer.json()["code"]) == (409, "document.busy")
    assert len(await gateway.said(DocumentUploaded)) == 1


async def test_of_reprocesses_at_once_one_wins(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.becomes_ready(ada.id, document)

    answers = await asyncio.gather(*(ada.http.post(f"/api/docs/{document}/reprocess") for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert [fact.version for fact in await gateway.said(DocumentUploaded)] == [1, 2]


async def test_everything_that_failed_by_no_fault_of_its_own_is_reprocessed(
    gateway: Gateway, ada: Person, bob: Person
) -> None:
    documents = [await ada.has_uploaded(f"{n}.txt", str(n).encode()) for n in range(4)]
    await gateway.hear(failed(ada.id, documents[0]), failed(ada.id, documents[1]))
    await gateway.hear(failed(ada.id, documents[2], retryable=False))
    foreign = await bob.has_uploaded()
    await gateway.hear(failed(bob.id, foreign))

    answer = await ada.http.post("/api/docs/reprocess", json={"status": "failed"})

    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    assert [(await ada.document(document))["version"] for document in documents] == [2, 2, 1, 1]
    assert (await bob.document(foreign))["version"] == 1
    assert (await ada.http.post("/api/docs/reprocess", json={"status": "failed"})).json() == {"accepted": 0}


@pytest.mark.parametrize("body", [{}, {"status": "ready"}, {"status": "failed", "owner_id": "x"}])
async def test_only_what_failed_can_be_reprocessed_all_at_once(ada: Person, body: dict[str, Any]) -> None:
    assert (await ada.http.post("/api/docs/reprocess", json=body)).status_code == 422


async def one(content: bytes) -> Any:
    yield content

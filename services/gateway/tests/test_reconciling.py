"""The reconciler: asks again for what stands still, patiently, and never on behalf of a mere backlog."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from contracts.facts import DocumentDeleted, DocumentParsingStarted, DocumentUploaded
from gateway import processing
from gateway.reconciling import DAILY, Patience, Reconcile
from messaging.outbox import Outbox
from sqlalchemy import text

from .front_door import Gateway, Person, failed, purged

PATIENCE = Patience(first=timedelta(seconds=60), ceiling=timedelta(hours=1), alert_rounds=4, batch=3)


@pytest.fixture
def reconcile(gateway: Gateway) -> Reconcile:
    return Reconcile(sessions=gateway.sessions, outbox=Outbox("gateway"), patience=PATIENCE)


async def looks(gateway: Gateway, reconcile: Reconcile) -> None:
    async with gateway.sessions.begin() as session:
        await reconcile(session)


async def passes(gateway: Gateway, seconds: float) -> None:
    """So much time, for everything that the gateway remembers."""
    async with gateway.sessions.begin() as session:
        for table, columns in (
            ("documents", ("moved_at", "started_at", "ask_at")),
            ("deletions", ("requested_at", "ask_at")),
        ):
            earlier = ", ".join(f"{column} = {column} - make_interval(secs => :seconds)" for column in columns)
            await session.execute(text(f"UPDATE {table} SET {earlier}"), {"seconds": seconds})


async def rounds(gateway: Gateway, kind: type[Any] = DocumentUploaded) -> list[int]:
    return [fact.round for fact in await gateway.said(kind)]


async def test_what_stands_still_is_asked_for_with_the_next_round(
    gateway: Gateway, ada: Person, reconcile: Reconcile
) -> None:
    document = await ada.has_uploaded()
    await looks(gateway, reconcile)
    assert await rounds(gateway) == [0]
    before = await ada.document(document)

    await passes(gateway, 61)
    await looks(gateway, reconcile)
    await looks(gateway, reconcile)

    assert await rounds(gateway) == [0, 1]
    assert await ada.document(document) == before


async def test_rounds_back_off_and_go_on_daily(gateway: Gateway, ada: Person, reconcile: Reconcile) -> None:
    await ada.has_uploaded()
    for seconds, expected in ((61, 1), (30, 1), (31, 2), (119, 2), (2, 3), (300, 4), (600, 5), (3600, 5), (86400, 6)):
        await passes(gateway, seconds)
        await looks(gateway, reconcile)
        assert (await rounds(gateway))[-1] == expected, seconds


def test_the_pause_doubles_up_to_its_ceiling() -> None:
    patient = Patience(first=timedelta(minutes=1), ceiling=timedelta(minutes=5), alert_rounds=5, batch=1)

    assert [patient.pause(n).total_seconds() / 60 for n in range(5)] == [1, 2, 4, 5, 5]
    assert patient.pause(5) == patient.pause(500) == DAILY


def test_a_pause_stays_at_its_ceiling_until_the_alert_however_late_that_is() -> None:
    patient = Patience(first=timedelta(minutes=1), ceiling=timedelta(minutes=5), alert_rounds=2000, batch=1)

    assert patient.pause(1000) == timedelta(minutes=5)


async def test_at_its_bound_it_alerts_and_never_fails_the_document(
    gateway: Gateway, ada: Person, reconcile: Reconcile, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    document = await ada.has_uploaded()
    for _ in range(6):
        await passes(gateway, 86401)
        await looks(gateway, reconcile)

    assert "nothing moves it" in caplog.text + capsys.readouterr().out
    assert (await ada.document(document))["status"] == "uploaded"


async def test_whatever_moves_starts_its_patience_anew(gateway: Gateway, ada: Person, reconcile: Reconcile) -> None:
    document = await ada.has_uploaded()
    await passes(gateway, 61)
    await looks(gateway, reconcile)
    await gateway.hear(DocumentParsingStarted(document_id=document, owner_id=ada.id, version=1, attempt=1))
    await passes(gateway, 59)
    await looks(gateway, reconcile)
    assert await rounds(gateway) == [0, 1]

    await passes(gateway, 2)
    await looks(gateway, reconcile)
    assert await rounds(gateway) == [0, 1, 2]


async def test_a_later_round_of_a_known_fact_is_no_movement(
    gateway: Gateway, ada: Person, reconcile: Reconcile
) -> None:
    document = await ada.has_uploaded()
    fact = DocumentParsingStarted(document_id=document, owner_id=ada.id, version=1, attempt=1)
    await gateway.hear(fact)
    await passes(gateway, 61)
    await gateway.hear(fact.model_copy(update={"round": 1}))

    await looks(gateway, reconcile)

    assert await rounds(gateway) == [0, 1]


@pytest.mark.parametrize("end", ["ready", "failed", "deleted"])
async def test_what_has_ended_is_left_alone(gateway: Gateway, ada: Person, reconcile: Reconcile, end: str) -> None:
    document = await ada.has_uploaded()
    if end == "ready":
        await gateway.becomes_ready(ada.id, document)
    elif end == "failed":
        await gateway.hear(failed(ada.id, document))
    else:
        await ada.http.delete(f"/api/docs/{document}")
    await passes(gateway, 86400)

    await looks(gateway, reconcile)

    assert await rounds(gateway) == [0]


async def test_a_backlog_is_not_amplified(gateway: Gateway, ada: Person, reconcile: Reconcile) -> None:
    """While others move, what stands still is queueing; and never more than a few are asked for at a look."""
    documents = [await ada.has_uploaded(f"{n}.txt", str(n).encode()) for n in range(6)]
    await passes(gateway, 61)
    await gateway.becomes_ready(ada.id, documents[0])
    await looks(gateway, reconcile)
    assert await rounds(gateway) == [0] * 6

    await passes(gateway, 61)
    await looks(gateway, reconcile)
    assert sorted(await rounds(gateway)) == [0] * 6 + [1] * 3
    await looks(gateway, reconcile)
    assert sorted(await rounds(gateway)) == [0] * 6 + [1] * 5


async def test_a_lost_document_is_found_even_while_others_go_on_moving(
    gateway: Gateway, ada: Person, reconcile: Reconcile
) -> None:
    await ada.has_uploaded("lost.txt", b"lost")
    for number in range(6):
        await passes(gateway, 55)
        await gateway.becomes_ready(ada.id, await ada.has_uploaded(f"{number}.txt", str(number).encode()))
        await looks(gateway, reconcile)

    assert 1 in await rounds(gateway)


async def test_a_deletion_without_all_receipts_is_asked_for(
    gateway: Gateway, ada: Person, reconcile: Reconcile
) -> None:
    document = await ada.has_uploaded()
    deletion = UUID((await ada.http.delete(f"/api/docs/{document}")).json()["deletion_id"])
    await passes(gateway, 61)
    await looks(gateway, reconcile)
    assert await rounds(gateway, DocumentDeleted) == [0, 1]

    for service in ("gateway", "ingest", "embedder", "qa"):
        await gateway.hear(purged(ada.id, document, deletion, service=service))
    await passes(gateway, 86401)
    await looks(gateway, reconcile)
    assert await rounds(gateway, DocumentDeleted) == [0, 1]


async def test_a_store_that_does_not_answer_is_asked_patiently_while_the_others_answer_every_round(
    gateway: Gateway, ada: Person, reconcile: Reconcile
) -> None:
    document = await ada.has_uploaded()
    deletion = UUID((await ada.http.delete(f"/api/docs/{document}")).json()["deletion_id"])
    for _ in range(30):
        asked = (await rounds(gateway, DocumentDeleted))[-1]
        for service in ("gateway", "ingest", "qa"):
            await gateway.hear(purged(ada.id, document, deletion, service=service, round=asked))
        await passes(gateway, 10)
        await looks(gateway, reconcile)

    assert await rounds(gateway, DocumentDeleted) == [0, 1, 2, 3]
    async with gateway.sessions() as session:
        assert await session.scalar(text("SELECT unanswered FROM deletions")) == 3


@pytest.mark.parametrize("first", [None, {"remaining": 2}, {"remaining": 0}])
async def test_a_receipt_that_says_something_new_starts_its_patience_anew(
    gateway: Gateway, ada: Person, reconcile: Reconcile, first: dict[str, Any] | None
) -> None:
    document = await ada.has_uploaded()
    deletion = UUID((await ada.http.delete(f"/api/docs/{document}")).json()["deletion_id"])
    if first is not None:
        await gateway.hear(purged(ada.id, document, deletion, service="ingest", **first))
    for _ in range(3):
        await passes(gateway, 3601)
        await looks(gateway, reconcile)

    await gateway.hear(purged(ada.id, document, deletion, service="ingest", verified=True))

    async with gateway.sessions() as session:
        assert await session.scalar(text("SELECT unanswered FROM deletions")) == 0


async def test_a_wiped_broker_starts_it_at_once_for_everything(
    gateway: Gateway, ada: Person, reconcile: Reconcile
) -> None:
    documents = [await ada.has_uploaded(f"{n}.txt", str(n).encode()) for n in range(7)]
    await gateway.becomes_ready(ada.id, documents[0])
    await ada.http.delete(f"/api/docs/{documents[1]}")

    await reconcile.at_once()

    assert sorted(await rounds(gateway)) == [0] * 7 + [1] * 5
    assert await rounds(gateway, DocumentDeleted) == [0, 1]
    await looks(gateway, reconcile)
    assert sorted(await rounds(gateway)) == [0] * 7 + [1] * 5


async def test_a_wiped_broker_makes_nobody_wait_for_a_document_that_is_moving(
    gateway: Gateway, ada: Person, reconcile: Reconcile
) -> None:
    """Whoever moves it may want the next one: both would wait for each other."""
    moving, *others = [await ada.has_uploaded(f"{n}.txt", str(n).encode()) for n in range(3)]
    async with gateway.sessions.begin() as session:
        await processing.lock(session, [moving])

        async with asyncio.timeout(5):
            await reconcile.at_once()

    assert {fact.document_id for fact in await gateway.said(DocumentUploaded) if fact.round} == set(others)


async def test_two_gateways_ask_once(gateway: Gateway, ada: Person, reconcile: Reconcile) -> None:
    await ada.has_uploaded()
    await passes(gateway, 61)
    async with gateway.sessions.begin() as one, gateway.sessions.begin() as two:
        await reconcile(one)
        await one.flush()
        await reconcile(two)

    assert await rounds(gateway) == [0, 1]


async def test_an_account_receipt_is_not_the_reconcilers(gateway: Gateway, ada: Person, reconcile: Reconcile) -> None:
    async with gateway.sessions.begin() as session:
        await session.execute(
            text("INSERT INTO deletions (id, owner_id) VALUES (:id, :owner)"), {"id": uuid4(), "owner": ada.id}
        )
    await passes(gateway, 86401)

    await looks(gateway, reconcile)

    assert await gateway.said() == []

"""Saying facts."""

from uuid import uuid4

import pytest
from chassis.database import Sessions
from chassis.telemetry import continue_trace
from contracts.envelope import Envelope
from messaging.outbox import FactTooLarge, Outbox
from messaging.tables import OutboxRow
from sqlalchemy import func, select

from libs.messaging.tests.samples import failed, ready, uploaded

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_committed_change_says_its_fact(sessions: Sessions) -> None:
    fact = uploaded()
    async with sessions.begin() as session:
        event_id = Outbox("gateway").add(session, fact)
    async with sessions() as session:
        row = (await session.scalars(select(OutboxRow))).one()
    envelope = Envelope.parse(row.body)
    assert (envelope.id, envelope.source, envelope.fact()) == (event_id, "gateway", fact)
    assert (row.event_id, row.topic, row.subject, row.type) == (event_id, "documents", fact.subject, fact.type)
    assert row.sent_at is None


async def test_a_rolled_back_change_says_nothing(sessions: Sessions) -> None:
    async with sessions() as session:
        Outbox("gateway").add(session, uploaded())
        await session.flush()
        await session.rollback()
    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(OutboxRow)) == 0


async def test_a_fact_that_is_too_large_is_refused_when_it_is_said(sessions: Sessions) -> None:
    fact = failed().model_copy(update={"detail": "x" * 300_000})
    async with sessions.begin() as session:
        with pytest.raises(FactTooLarge) as refusal:
            Outbox("ingest").add(session, fact)
    assert refusal.value.size > 300_000
    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(OutboxRow)) == 0


async def test_a_fact_carries_the_trace_it_was_said_in(sessions: Sessions) -> None:
    with continue_trace(TRACE):
        async with sessions.begin() as session:
            Outbox("gateway").add(session, uploaded())
    async with sessions() as session:
        row = (await session.scalars(select(OutboxRow))).one()
    assert row.traceparent == TRACE
    assert Envelope.parse(row.body).traceparent == TRACE


async def test_only_what_ends_a_version_is_kept(sessions: Sessions) -> None:
    document = uuid4()
    async with sessions.begin() as session:
        for fact in (uploaded(document), ready(document), failed(document)):
            Outbox("qa").add(session, fact)
    async with sessions() as session:
        kept = await session.execute(select(OutboxRow.type, OutboxRow.kept).order_by(OutboxRow.id))
    assert [tuple(row) for row in kept] == [
        ("document.uploaded.v1", False),
        ("document.ready.v1", True),
        ("document.failed.v1", True),
    ]

"""Members of a group come and go, politely or not, and no record is missed."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from chassis.ids import uuid7
from chassis.transactions import Transactions
from contracts.envelope import Envelope
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.messaging.tests.samples import until, uploaded

ROOT = Path(__file__).parents[3]

StartMember = Callable[[str], Awaitable[Process]]


@pytest.fixture
async def member(kafka: str, engine: AsyncEngine) -> AsyncIterator[StartMember]:
    started: list[Process] = []

    async def start(name: str) -> Process:
        database = engine.url.render_as_string(hide_password=False)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "libs.messaging.tests.member", kafka, database, name, cwd=ROOT
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_no_record_is_missed_while_members_come_and_go(
    ending: signal.Signals, kafka: str, transactions: Transactions, member: StartMember
) -> None:
    async with transactions.begin() as session:
        await session.execute(text("CREATE TABLE heard (subject text, member text)"))
    said: list[str] = []
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()

    async def say() -> None:
        while True:
            fact = uploaded()
            envelope = Envelope.wrap(fact, event_id=uuid7(), source="test", time=datetime.now(UTC))
            await producer.send_and_wait("documents", envelope.to_bytes(), key=fact.subject.encode())
            said.append(fact.subject)
            await asyncio.sleep(0.05)

    async def heard_by(name: str) -> int:
        async with transactions.begin() as session:
            return await session.scalar(text("SELECT count(*) FROM heard WHERE member = :m"), {"m": name}) or 0

    async def all_heard() -> bool:
        async with transactions.begin() as session:
            heard = set(await session.scalars(text("SELECT DISTINCT subject FROM heard")))
        return heard >= set(said)

    async def b_hears() -> bool:
        return await heard_by("b") > 0

    async def a_hears() -> bool:
        return await heard_by("a") > 0

    saying = asyncio.create_task(say())
    first = await member("a")
    await until(a_hears, within=60)
    await member("b")
    await until(b_hears, within=60)
    first.send_signal(ending)
    assert await first.wait() == (0 if ending is signal.SIGTERM else -signal.SIGKILL)
    saying.cancel()
    await until(all_heard, within=60)
    await producer.stop()

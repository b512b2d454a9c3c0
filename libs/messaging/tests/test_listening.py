"""Hearing NOTIFY, and being woken whenever one may have been missed."""

import asyncio

from chassis.database import create_engine
from messaging.listening import Listener
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.messaging.tests.samples import until


async def test_a_notification_wakes_whoever_subscribed(engine: AsyncEngine) -> None:
    listener = Listener(engine)
    woken, other = listener.subscribe("documents"), listener.subscribe("other")
    running = asyncio.create_task(listener.run())
    await listener.ready()
    assert woken.is_set(), "something may have happened before it listened"
    woken.clear()
    other.clear()
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_notify('documents', 'x')"))
    await asyncio.wait_for(woken.wait(), 10)
    assert not other.is_set()
    running.cancel()


async def test_a_lost_connection_comes_back_and_wakes_all(engine: AsyncEngine) -> None:
    listener = Listener(engine)
    heard: list[str | None] = []
    listener.on("documents", heard.append)
    running = asyncio.create_task(listener.run())
    await listener.ready()
    assert heard == [None]
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
        )
    await until(lambda: heard == [None, None])
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_notify('documents', 'x')"))
    await until(lambda: heard == [None, None, "x"])
    running.cancel()


async def test_a_database_that_is_not_there_is_tried_again() -> None:
    listener = Listener(create_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nothing"))
    running = asyncio.create_task(listener.run())
    await asyncio.sleep(0.1)
    assert not running.done()
    running.cancel()

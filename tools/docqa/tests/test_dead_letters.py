"""Dead letters as an operator sees them, on a real database."""

from typing import Any

import pytest
from chassis.database import Sessions, create_engine, create_sessions
from chassis.failures import Poison
from messaging import dead_letters
from messaging.records import Record
from messaging.tables import DeadLetter
from sqlalchemy import select


@pytest.fixture
async def ingest(database: Any, monkeypatch: pytest.MonkeyPatch, api: Any) -> Any:
    """Sessions on a database of ingest's with two dead letters; its address is in the environment."""
    url = await database("ingest")
    monkeypatch.setenv("DOCQA_INGEST_DATABASE_URL", url)
    engine = create_engine(url)
    sessions = create_sessions(engine)
    async with sessions.begin() as session:
        for offset, code in ((3, "record.unreadable"), (4, "record.headers")):
            record = Record("documents", 1, offset, b"key", b"not json")
            await dead_letters.bury(session, record, Poison(code, "It is not JSON [really]."))
    yield sessions
    await engine.dispose()


async def states(sessions: Sessions) -> list[str]:
    async with sessions() as session:
        return list(await session.scalars(select(DeadLetter.state).order_by(DeadLetter.id)))


async def run(docqa: Any, *words: str) -> Any:
    """In a thread, because the command has an event loop of its own."""
    import asyncio

    return await asyncio.to_thread(docqa, "dead-letters", *words)


async def test_they_are_listed_with_place_and_reason(ingest: Sessions, docqa: Any) -> None:
    ended = await run(docqa, "list", "--service", "ingest")
    assert ended.exit_code == 0
    assert "documents[1]@3" in ended.out
    assert "It is not JSON [really]." in ended.out
    assert ended.out.index("record.unreadable") < ended.out.index("record.headers")


async def test_all_of_a_service_are_replayed_once(ingest: Sessions, docqa: Any) -> None:
    assert (await run(docqa, "replay", "--service", "ingest")).out == "ingest: 2 will be handled again\n"
    assert await states(ingest) == ["replaying", "replaying"]
    assert (await run(docqa, "replay", "--service", "ingest")).out == "ingest: 0 will be handled again\n"


async def test_one_or_those_of_a_reason_can_be_chosen(ingest: Sessions, docqa: Any) -> None:
    await run(docqa, "replay", "--service", "ingest", "--reason", "record.headers")
    assert await states(ingest) == ["dead", "replaying"]
    await run(docqa, "replay", "--service", "ingest", "--id", "1")
    assert await states(ingest) == ["replaying", "replaying"]
    ended = await run(docqa, "replay", "--service", "ingest", "--id", "1")
    assert (ended.exit_code, ended.err) == (1, "docqa: ingest has no dead letter 1 that could be replayed.\n")


async def test_without_a_service_those_in_the_environment_are_asked(ingest: Sessions, docqa: Any) -> None:
    assert (await run(docqa, "replay", "--reason", "none")).out == "ingest: 0 will be handled again\n"


async def test_none_are_told_as_none(database: Any, docqa: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCQA_QA_DATABASE_URL", await database("qa"))
    assert (await run(docqa, "list", "--service", "qa")).out == "No dead letters.\n"


async def test_mistakes_are_told_in_plain_words(docqa: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nobody is not a service" in (await run(docqa, "list", "--service", "nobody")).err
    assert "say which one with --service" in (await run(docqa, "replay", "--id", "1")).err
    assert "No docqa is running" in (await run(docqa, "list")).err
    monkeypatch.setenv("DOCQA_QA_DATABASE_URL", "postgresql+asyncpg://qa:x@/qa?host=/nowhere")
    for command in ("list", "replay"):
        ended = await run(docqa, command, "--service", "qa")
        assert ended.exit_code == 1
        assert "The database of qa cannot be asked" in ended.err

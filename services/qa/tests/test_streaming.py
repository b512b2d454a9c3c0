"""Answers that are stopped, left, broken off, or overtaken by a deletion."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from chassis.failures import Misconfigured, Permanent, Transient
from chassis.ids import uuid7
from contracts.facts import DocumentDeleted, UserDeleted
from models.failures import BAD_ANSWER, MISCONFIGURED, REFUSED, TIMEOUT, UNAVAILABLE
from qa import chats
from qa.keeping import Keep, NewQuestion
from qa.repository import drop_abandoned_places
from qa.tables import ChatMessage
from sqlalchemy import select

PUMP = "The Kestrel pump runs at 4200 rpm and weighs 31 kilograms."
FAST = "How fast does the Kestrel pump run?"


async def soon(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await is_so():  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.01)


def deleted(owner: UUID, document: UUID) -> DocumentDeleted:
    return DocumentDeleted(document_id=document, owner_id=owner, version=1, deletion_id=uuid7())


async def test_whoever_leaves_finds_the_whole_answer_later(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    gate = asyncio.Event()
    service.chat.will_say("It runs ", gate, "at 4200 rpm [1].")
    async with ada.listening(FAST) as listening:
        _, session = await listening.next()
        await service.chat.spoke.wait()
    gate.set()

    async def is_stored() -> bool:
        return bool((await ada.chat(session["session_id"]))["message_count"] == 2)

    await soon(is_stored)
    answer = (await ada.chat(session["session_id"]))["messages"][1]
    assert (answer["content"], answer["stopped"]) == ("It runs at 4200 rpm [1].", False)
    assert answer["id"] == session["message_id"]


async def test_whoever_leaves_before_a_json_answer_finds_it_later(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    gate = asyncio.Event()
    service.chat.will_say("At ", gate, "4200 rpm [1].")
    leaving = asyncio.create_task(ada.http.post("/api/ask", json={"question": FAST}))
    await service.chat.spoke.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    gate.set()

    async def is_stored() -> bool:
        chats = (await ada.http.get("/api/chats")).json()["items"]
        return bool(chats) and bool((await ada.chat(chats[0]["id"]))["message_count"] == 2)

    await soon(is_stored)


async def test_what_was_said_before_stop_is_kept(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    service.chat.will_say("It runs [1] ", "at 4200", asyncio.Event(), "never said")
    async with ada.listening(FAST) as listening:
        _, session = await listening.next()
        chat, message = session["session_id"], session["message_id"]
        while (await listening.next())[0] != "token":
            pass
        stopped = await ada.http.post(f"/api/chats/{chat}/messages/{message}/stop")
        assert stopped.status_code == 204
        events = [event async for event in listening]
    name, done = events[-1]
    assert name == "done"
    assert done["answer"] == "It runs [1] at 4200"
    kept = (await ada.chat(chat))["messages"][1]
    assert (kept["content"], kept["stopped"], kept["answered"]) == ("It runs [1] at 4200", True, True)
    assert kept["sources"][0]["cited"] is True
    assert service.chat.closed == 1
    # Again, and too late: nothing is left to stop.
    assert (await ada.http.post(f"/api/chats/{chat}/messages/{message}/stop")).status_code == 204


async def test_an_answer_is_stopped_while_it_is_still_looked_for(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    service.embeddings.answers.clear()
    async with ada.listening(FAST) as listening:
        _, session = await listening.next()
        chat, message = session["session_id"], session["message_id"]
        assert (await ada.http.post(f"/api/chats/{chat}/messages/{message}/stop")).status_code == 204
        name, done = [event async for event in listening][-1]
    assert (name, done["answer"], done["answered"], done["sources"]) == ("done", "", False, [])
    kept = (await ada.chat(chat))["messages"][1]
    assert (kept["content"], kept["stopped"], kept["answered"]) == ("", True, False)
    assert not service.chat.asked, "nobody waits for the model either"


async def test_an_answer_is_stopped_from_another_replica(service: Any, ada: Any, person: Any, replica: str) -> None:
    await service.add(ada.id, PUMP)
    service.chat.will_say("It runs ", asyncio.Event())
    async with ada.listening(FAST) as listening:
        _, session = await listening.next()
        await service.chat.spoke.wait()
        elsewhere = person(ada.id, at=replica)
        stop = f"/api/chats/{session['session_id']}/messages/{session['message_id']}/stop"
        assert (await elsewhere.http.post(stop)).status_code == 204
        events = [event async for event in listening]
    assert events[-1][0] == "done"
    assert (await ada.chat(session["session_id"]))["messages"][1]["stopped"] is True


async def test_only_its_owner_stops_an_answer(service: Any, person: Any) -> None:
    ada, bob = person(), person()
    await service.add(ada.id, PUMP)
    answer = await ada.answer(FAST)
    chat, message = answer["session_id"], answer["message_id"]
    for who, path in (
        (bob, f"{chat}/messages/{message}"),
        (ada, f"{uuid7()}/messages/{message}"),
        (ada, f"{chat}/messages/{uuid7()}"),
    ):
        response = await who.http.post(f"/api/chats/{path}/stop")
        assert (response.status_code, response.json()["code"]) == (404, "message.not_found")


TROUBLE = [
    (Transient(UNAVAILABLE, "busy", 7), 503, "provider.unavailable"),
    (Transient(TIMEOUT, "slow"), 504, "provider.timeout"),
    (Transient(BAD_ANSWER, "html"), 502, "provider.bad_answer"),
    (Misconfigured(MISCONFIGURED, "no key"), 503, "provider.misconfigured"),
    (Permanent(REFUSED, "no"), 502, "provider.refused"),
]


async def test_trouble_of_the_chat_provider_has_a_name(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    for failure, status, code in TROUBLE:
        service.chat.will_say("It ", failure)
        response = await ada.ask(FAST)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert ("Retry-After" in response.headers) == (status == 503)
        events = await ada.events(FAST)
        assert events[-1][0] == "error"
        assert (events[-1][1]["status"], events[-1][1]["code"]) == (status, code)
        assert events[-1][1]["request_id"]
    # The questions are kept, no half answer is.
    chat = await ada.chat(events[0][1]["session_id"])
    assert [message["role"] for message in chat["messages"]] == ["user"]


async def test_trouble_of_the_embeddings_provider_has_a_name(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    for failure, status, code in TROUBLE:
        service.embeddings.failure = failure
        for route, body in (("ask", {"question": FAST}), ("search", {"query": FAST})):
            response = await ada.http.post(f"/api/{route}", json=body)
            assert (response.status_code, response.json()["code"]) == (status, code)
        assert (await ada.events(FAST))[-1][1]["code"] == code


async def test_after_trouble_the_session_goes_on(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    service.chat.will_say(Transient(UNAVAILABLE, "down"))
    events = await ada.events(FAST)
    service.chat.will_say("At 4200 rpm [1].")
    again = await ada.answer(FAST, session_id=events[0][1]["session_id"])
    chat = await ada.chat(again["session_id"])
    assert [message["role"] for message in chat["messages"]] == ["user", "user", "assistant"]


async def test_an_unexpected_error_tells_nothing(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    service.chat.will_say(RuntimeError("the secret is swordfish"))
    response = await ada.ask(FAST)
    assert response.status_code == 500
    assert "swordfish" not in response.text


async def test_an_answer_whose_source_is_deleted_meanwhile_is_not_kept(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    gate = asyncio.Event()
    service.chat.will_say("It runs ", gate, "at 4200 rpm.")
    async with ada.listening(FAST) as listening:
        _, session = await listening.next()
        await service.chat.spoke.wait()
        await service.hear(deleted(ada.id, document))
        gate.set()
        events = [event async for event in listening]
    assert (events[-1][0], events[-1][1]["code"]) == ("error", "answer.sources_deleted")
    message = (await ada.chat(session["session_id"]))["messages"][1]
    assert (message["content"], message["sources"], message["redacted"]) == ("", [], True)
    async with service.sessions() as database:
        row = await database.get_one(ChatMessage, UUID(session["message_id"]))
        assert (row.content, row.sources) == ("", [])


async def test_a_purge_between_answer_and_storing_leaves_no_words(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    gate = asyncio.Event()
    service.chat.will_say("It runs ", gate, "at 4200 rpm.")
    asking = asyncio.create_task(ada.ask(FAST))
    await service.chat.spoke.wait()
    await service.hear(deleted(ada.id, document))
    await service.work("purge_document")
    gate.set()
    assert (await asking).status_code == 409
    async with service.sessions() as database:
        rows = (await database.scalars(select(ChatMessage).where(ChatMessage.role == "assistant"))).all()
    assert [(row.content, row.sources, row.redacted) for row in rows] == [("", [], True)]


async def test_a_chat_that_is_deleted_meanwhile_keeps_nothing(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    gate = asyncio.Event()
    service.chat.will_say("It runs ", gate, "at 4200 rpm.")
    async with ada.listening(FAST) as listening:
        _, session = await listening.next()
        await service.chat.spoke.wait()
        assert (await ada.http.delete(f"/api/chats/{session['session_id']}")).status_code == 204
        gate.set()
        events = [event async for event in listening]
    assert (events[-1][0], events[-1][1]["code"]) == ("error", "chat.not_found")


async def test_a_closed_account_keeps_nothing(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    gate = asyncio.Event()
    service.chat.will_say("It runs ", gate, "at 4200 rpm.")
    asking = asyncio.create_task(ada.ask(FAST))
    await service.chat.spoke.wait()
    await service.hear(UserDeleted(user_id=ada.id, deletion_id=uuid7()))
    gate.set()
    assert (await asking).status_code == 401
    later = await ada.ask(FAST)
    assert (later.status_code, later.json()["code"]) == (401, "auth.token_invalid")
    assert "WWW-Authenticate" in later.headers


async def test_answers_under_way_are_kept_when_the_process_ends(service: Any, person: Any, replica_app: Any) -> None:
    user = uuid7()
    await service.add(user, PUMP)
    service.chat.will_say("It runs ", asyncio.Event())
    async with replica_app() as url:
        ada = person(user, at=url)
        asking = asyncio.create_task(ada.ask(FAST))
        await service.chat.spoke.wait()
    assert (await asking).json()["answer"] == "It runs "
    async with service.sessions() as database:
        row = await database.scalar(select(ChatMessage).where(ChatMessage.role == "assistant"))
    assert row is not None
    assert (row.content, row.stopped, row.running) == ("It runs ", True, False)


async def test_the_place_of_an_answer_whose_process_died_is_hidden_and_then_removed(service: Any, ada: Any) -> None:
    question = NewQuestion(
        owner=ada.id, chat=uuid7(), is_new_chat=True, question_id=uuid7(), answer_id=uuid7(), question="Why?"
    )
    await Keep(service.statements).question(question)
    assert (await ada.chat(str(question.chat)))["message_count"] == 1
    async with service.sessions.begin() as session:
        await drop_abandoned_places(session, older_than=3600)
        assert await chats.is_running(session, question.answer_id)
        await drop_abandoned_places(session, older_than=-1)
        assert not await chats.is_running(session, question.answer_id)

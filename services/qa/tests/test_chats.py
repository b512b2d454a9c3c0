"""Chats: listed, read, renamed, rated, deleted, and hidden with their documents."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from chassis.ids import uuid7
from contracts.facts import DocumentDeleted, DocumentPurged, UserDeleted, UserPurged
from contracts.internal import EXCLUDED_HEADER, encode_excluded
from qa import cursors
from qa.chats import title_of
from qa.tables import ChatMessage, ChatSession, PassageRow, SearchableDocument
from sqlalchemy import func, select

PUMP = "The Kestrel pump runs at 4200 rpm and weighs 31 kilograms."
VALVE = "The Osprey valve opens at 7 bar and is made of bronze."
FAST = "How fast does the Kestrel pump run?"


async def test_a_chat_keeps_questions_and_answers_in_order(service: Any, ada: Any) -> None:
    await service.add(ada.id, PUMP)
    first = await ada.answer(FAST)
    await ada.answer("And what does it weigh?", session_id=first["session_id"])
    chat = await ada.chat(first["session_id"])
    assert chat["title"] == FAST
    assert chat["message_count"] == 4
    assert [(message["role"], message["answered"]) for message in chat["messages"]] == [
        ("user", None),
        ("assistant", True),
        ("user", None),
        ("assistant", True),
    ]
    assert chat["messages"][1]["sources"] == first["sources"]
    assert chat["messages"][1]["id"] == first["message_id"]
    assert chat["messages"][0]["content"] == FAST


async def test_messages_keep_their_order_whatever_the_clocks_of_replicas_say(
    ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [uuid7() for _ in range(7)]  # of the chat, and of each question and answer
    monkeypatch.setattr("qa.asking.uuid7", ids.pop)  # each before the one made before it
    chat = (await ada.answer("Question 1?"))["session_id"]
    for number in (2, 3):
        await ada.answer(f"Question {number}?", session_id=chat)
    messages = (await ada.chat(chat))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 3
    assert [message["content"] for message in messages[::2]] == ["Question 1?", "Question 2?", "Question 3?"]


async def test_the_list_is_walked_by_its_cursor(ada: Any) -> None:
    asked = [(await ada.answer(f"Question {number}?"))["session_id"] for number in range(5)]
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await ada.http.get("/api/chats", params=params)).json()
        seen += [chat["id"] for chat in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == asked[::-1]
    await ada.answer("Again?", session_id=asked[0])
    assert (await ada.http.get("/api/chats")).json()["items"][0]["id"] == asked[0]


async def test_forged_cursors_and_absurd_limits_are_refused(ada: Any) -> None:
    forged = [{"cursor": text} for text in ("x", "AAAA", "%00", "a" * 500, cursors.write((_now(), uuid7())) + "A")]
    for params in [*forged, {"limit": 0}, {"limit": 101}, {"limit": "x"}]:
        response = await ada.http.get("/api/chats", params=params)
        assert (response.status_code, response.json()["code"]) == (422, "request.invalid"), params


async def test_an_empty_cursor_is_the_beginning(ada: Any) -> None:
    chat = (await ada.answer("Why?"))["session_id"]
    response = await ada.http.get("/api/chats", params={"cursor": ""})
    assert [item["id"] for item in response.json()["items"]] == [chat]


async def test_a_chat_is_renamed(ada: Any) -> None:
    chat = (await ada.answer("Why?"))["session_id"]
    renamed = await ada.http.patch(f"/api/chats/{chat}", json={"title": " Pumps "})
    assert (renamed.status_code, renamed.json()["title"]) == (200, "Pumps")
    assert (await ada.chat(chat))["title"] == "Pumps"
    for body in (
        {"title": " "},
        {"title": "x" * 201},
        {"title": "a\x00b"},
        {"title": "x", "owner_id": str(uuid7())},
        {},
    ):
        refused = await ada.http.patch(f"/api/chats/{chat}", json=body)
        assert refused.status_code == 422


async def test_a_deleted_chat_is_gone(ada: Any) -> None:
    chat = (await ada.answer("Why?"))["session_id"]
    assert (await ada.http.delete(f"/api/chats/{chat}")).status_code == 204
    for response in (
        await ada.http.get(f"/api/chats/{chat}"),
        await ada.http.delete(f"/api/chats/{chat}"),
        await ada.http.patch(f"/api/chats/{chat}", json={"title": "x"}),
        await ada.ask("Why?", session_id=chat),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "chat.not_found")


async def test_an_answer_is_rated_and_the_last_word_counts(ada: Any) -> None:
    answer = await ada.answer("Why?")
    chat, message = answer["session_id"], answer["message_id"]
    path = f"/api/chats/{chat}/messages/{message}/feedback"
    assert (await ada.http.post(path, json={"rating": "down", "comment": "no"})).status_code == 204
    assert (await ada.http.post(path, json={"rating": "up"})).status_code == 204
    messages = (await ada.chat(chat))["messages"]
    assert messages[1]["feedback"] == {"rating": "up", "comment": None}
    assert messages[0]["feedback"] is None
    for body in (
        {"rating": "great"},
        {},
        {"rating": "up", "comment": "x" * 2001},
        {"rating": "up", "comment": "a\x00"},
    ):
        assert (await ada.http.post(path, json=body)).status_code == 422
    question = messages[0]["id"]
    refused = await ada.http.post(f"/api/chats/{chat}/messages/{question}/feedback", json={"rating": "up"})
    assert (refused.status_code, refused.json()["code"]) == (404, "message.not_found")


async def test_others_see_nothing(person: Any) -> None:
    ada, bob = person(), person()
    answer = await ada.answer("Why?")
    chat, message = answer["session_id"], answer["message_id"]
    assert (await bob.http.get("/api/chats")).json() == {"items": [], "next_cursor": None}
    for method, path, body in (
        ("GET", "/api/chats/{}", None),
        ("DELETE", "/api/chats/{}", None),
        ("PATCH", "/api/chats/{}", {"title": "mine"}),
        ("POST", "/api/chats/{}/messages/{}/feedback", {"rating": "up"}),
    ):
        foreign = await bob.http.request(method, path.format(chat, message), json=body)
        unknown = await bob.http.request(method, path.format(uuid7(), uuid7()), json=body)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["code"] == unknown.json()["code"]
    assert (await ada.chat(chat))["title"] == "Why?"


async def test_malformed_ids_are_refused(ada: Any) -> None:
    assert (await ada.http.get("/api/chats/nonsense")).status_code == 422


async def test_a_document_being_deleted_is_hidden_from_chats_at_once(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    answer = await ada.answer(FAST)
    headers = {EXCLUDED_HEADER: encode_excluded([document, uuid7()])}
    hidden = (await ada.chat(answer["session_id"], headers=headers))["messages"][1]
    assert (hidden["content"], hidden["sources"], hidden["redacted"]) == ("", [], True)
    # It is the header that hides: the reader of the old page has not lost anything yet.
    assert (await ada.chat(answer["session_id"]))["messages"][1]["redacted"] is False


async def test_a_deleted_document_takes_the_words_of_answers_with_it(service: Any, ada: Any) -> None:
    document, other = await service.add(ada.id, PUMP), await service.add(ada.id, VALVE)
    quoted = await ada.answer(FAST)
    untouched = await ada.answer("When does the Osprey valve open?")
    deletion = DocumentDeleted(document_id=document, owner_id=ada.id, version=1, deletion_id=uuid7())
    await service.hear(deletion)
    assert (await ada.answer(FAST))["answered"] is False
    await service.work("purge_document")
    message = (await ada.chat(quoted["session_id"]))["messages"][1]
    assert (message["content"], message["sources"], message["redacted"]) == ("", [], True)
    kept = (await ada.chat(untouched["session_id"]))["messages"][1]
    assert kept["sources"][0]["document_id"] == str(other)
    (purged,) = await service.said(DocumentPurged)
    assert (purged.service, purged.deletion_id, purged.erased, purged.remaining) == ("qa", deletion.deletion_id, 3, 0)
    async with service.sessions() as session:
        for table in (PassageRow, SearchableDocument):
            assert await session.scalar(select(func.count()).where(table.document_id == document)) == 0
        texts = [row.content + str(row.sources) for row in await session.scalars(select(ChatMessage))]
        assert not [text for text in texts if "Kestrel" in text and "rpm" in text]


async def test_an_uncited_source_counts_as_a_source(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP)
    service.chat.will_say("It runs fast.")
    answer = await ada.answer(FAST)
    assert answer["sources"][0]["cited"] is False
    await service.hear(DocumentDeleted(document_id=document, owner_id=ada.id, version=1, deletion_id=uuid7()))
    await service.work("purge_document")
    assert (await ada.chat(answer["session_id"]))["messages"][1]["redacted"] is True


async def test_a_closed_account_leaves_no_chats(service: Any, person: Any) -> None:
    ada, bob = person(), person()
    await ada.answer("Why?")
    await ada.answer("Who?")
    await bob.answer("Why?")
    closed = UserDeleted(user_id=ada.id, deletion_id=uuid7())
    await service.hear(closed)
    await service.work("purge_user")
    (purged,) = await service.said(UserPurged)
    assert (purged.user_id, purged.service, purged.erased, purged.remaining) == (ada.id, "qa", 6, 0)
    async with service.sessions() as session:
        assert set(await session.scalars(select(ChatSession.owner_id))) == {bob.id}
        assert set(await session.scalars(select(ChatMessage.owner_id))) == {bob.id}
    # Heard again: nothing is said. Asked again: the same, with the round that asked.
    await service.hear(closed)
    await service.work("purge_user")
    assert len(await service.said(UserPurged)) == 1
    await service.hear(closed.model_copy(update={"round": 1}))
    assert [fact.round for fact in await service.said(UserPurged)] == [0, 1]


async def test_an_account_without_chats_is_purged_as_well(service: Any) -> None:
    user = uuid7()
    await service.hear(UserDeleted(user_id=user, deletion_id=uuid7()))
    await service.work("purge_user")
    (purged,) = await service.said(UserPurged)
    assert (purged.erased, purged.remaining) == (0, 0)


def test_a_title_is_the_beginning_of_the_question() -> None:
    assert title_of("How fast\n is\tit?") == "How fast is it?"
    assert title_of("x" * 100) == "x" * 79 + "…"


def test_a_cursor_reads_back() -> None:
    place = (_now(), UUID(int=7))
    assert cursors.read(cursors.write(place)) == place


def _now() -> Any:
    return datetime.now(UTC)

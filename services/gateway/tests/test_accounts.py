"""A deleted account: out before its holder has the answer, and nothing of it is left."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from contracts.facts import DocumentDeleted, UserDeleted, UserPurged
from fastapi import Request, Response
from gateway.closing import CloseAccount, Closure, Farewell
from gateway.tables import IdempotencyRow
from messaging.outbox import Outbox
from sqlalchemy import select
from starlette.responses import JSONResponse

from .front_door import Gateway, Person
from .test_deleting import purge, receipt

OUTBOX = Outbox("gateway")
DELETION = UUID(int=77)


async def closes(gateway: Gateway) -> None:
    """Turn the closure into deletions, and erase what is ours."""
    await gateway.work(Closure(sessions=gateway.sessions, outbox=OUTBOX), purge(gateway))


async def erase_elsewhere(gateway: Gateway) -> None:
    for fact in await gateway.said(DocumentDeleted):
        await gateway.is_erased_elsewhere(fact.owner_id, fact.document_id, fact.deletion_id)


def farewell(gateway: Gateway) -> Farewell:
    return Farewell(store=gateway.store, outbox=OUTBOX)


async def accepted(_: Request) -> Response:
    return JSONResponse({"deletion_id": str(DELETION)}, 202)


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/auth/me"), ("POST", "/api/auth/me/delete")])
async def test_a_deleted_account_is_out_before_the_answer(
    gateway: Gateway, ada: Person, method: str, path: str
) -> None:
    gateway.behind.answer = accepted

    answer = await ada.http.request(method, path, json={"password": "correct horse battery staple"})

    assert (answer.status_code, answer.json()) == (202, {"deletion_id": str(DELETION)})
    for route in ("/api/docs", "/api/auth/me", "/api/chats", f"/api/docs/{uuid4()}", "/api/docs/events"):
        refused = await ada.http.get(route)
        assert (refused.status_code, refused.json()["code"]) == (401, "auth.token_invalid")
        assert "www-authenticate" in refused.headers
    for route, field in (("/api/ask", "question"), ("/api/search", "query")):
        for text in ("Why?", " "):
            refused = await ada.http.post(route, json={field: text})
            assert (refused.status_code, refused.json()["code"]) == (401, "auth.token_invalid")


async def test_a_wrong_password_closes_nothing(gateway: Gateway, ada: Person) -> None:
    async def refused(_: Request) -> Response:
        return JSONResponse({"code": "auth.bad_credentials"}, 401)

    gateway.behind.answer = refused

    assert (await ada.http.request("DELETE", "/api/auth/me", json={"password": "x"})).status_code == 401
    assert (await ada.http.get("/api/docs")).status_code == 200


async def test_an_answer_that_is_none_is_a_503(gateway: Gateway, ada: Person) -> None:
    async def odd(_: Request) -> Response:
        return JSONResponse({}, 202)

    gateway.behind.answer = odd

    assert (await ada.http.request("DELETE", "/api/auth/me", json={"password": "x"})).status_code == 503


async def test_everything_of_a_closed_account_is_erased_and_said(gateway: Gateway, ada: Person, bob: Person) -> None:
    documents = [await ada.has_uploaded(f"{n}.txt", str(n).encode()) for n in range(3)]
    kept = await bob.has_uploaded()
    await gateway.store.put(f"users/{ada.id}/left/behind", one(b"by nobody knows whom"))
    await CloseAccount(sessions=gateway.sessions)(ada.id, DELETION)

    await closes(gateway)
    assert {fact.document_id for fact in await gateway.said(DocumentDeleted)} == set(documents)
    assert await gateway.work(farewell(gateway)) == 0
    await erase_elsewhere(gateway)
    assert await gateway.work(farewell(gateway)) == 1

    [said] = await gateway.said(UserPurged)
    assert (said.user_id, said.deletion_id, said.service) == (ada.id, DELETION, "gateway")
    assert (said.erased, said.remaining) == (3, 0)
    assert await gateway.objects(f"users/{ada.id}/") == []
    assert (await bob.document(kept))["status"] == "uploaded"


async def test_no_answer_of_a_closed_account_is_remembered(gateway: Gateway, ada: Person, bob: Person) -> None:
    for person in (ada, bob):
        files = ("kept.txt", b"words", "text/plain"), ("a secret.docx", b"PK", "application/zip")
        assert (await person.upload(*files, **{"Idempotency-Key": "once"})).status_code == 202
    await CloseAccount(sessions=gateway.sessions)(ada.id, DELETION)
    await closes(gateway)
    await erase_elsewhere(gateway)

    await gateway.work(farewell(gateway))

    async with gateway.sessions() as session:
        assert (await session.scalars(select(IdempotencyRow.owner_id))).all() == [bob.id]


async def test_an_accounts_receipt_needs_no_login(gateway: Gateway, ada: Person, bob: Person) -> None:
    await CloseAccount(sessions=gateway.sessions)(ada.id, DELETION)
    await closes(gateway)
    await gateway.work(farewell(gateway))
    bob.http.headers.pop("Authorization")

    shown = await receipt(bob, DELETION)
    assert shown["document_id"] is None
    assert set(shown["stores"]) == {"gateway"}
    await gateway.hear(UserDeleted(user_id=ada.id, deletion_id=DELETION, erased=4, remaining=0))
    assert (await receipt(bob, DELETION))["stores"]["auth"]["erased"] == 4
    assert (await receipt(bob, DELETION))["completed_at"] is None
    await gateway.hear(UserPurged(user_id=ada.id, deletion_id=DELETION, service="qa", erased=2, remaining=0))
    assert (await receipt(bob, DELETION))["completed_at"] is not None
    assert (await receipt(ada, DELETION))["stores"]["qa"]["erased"] == 2


async def test_a_documents_receipt_needs_one(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    deletion = (await ada.http.delete(f"/api/docs/{document}")).json()["deletion_id"]
    ada.http.headers.pop("Authorization")

    for id_ in (deletion, uuid4()):
        assert (await ada.http.get(f"/api/deletions/{id_}")).status_code == 401


async def test_an_account_without_documents_is_purged_all_the_same(gateway: Gateway, ada: Person) -> None:
    await CloseAccount(sessions=gateway.sessions)(ada.id, DELETION)
    await closes(gateway)

    assert await gateway.work(farewell(gateway)) == 1

    [said] = await gateway.said(UserPurged)
    assert (said.erased, said.remaining) == (0, 0)


async def test_a_closure_that_only_the_fact_tells_of_is_the_same(gateway: Gateway, ada: Person) -> None:
    """The gateway died between auth's answer and its own row."""
    await ada.has_uploaded()

    await gateway.hear(UserDeleted(user_id=ada.id, deletion_id=DELETION))

    assert (await ada.http.get("/api/docs")).status_code == 401
    await closes(gateway)
    await erase_elsewhere(gateway)
    assert await gateway.work(farewell(gateway)) == 1


async def test_a_closure_heard_again_changes_nothing_and_each_round_is_answered_once(
    gateway: Gateway, ada: Person
) -> None:
    await CloseAccount(sessions=gateway.sessions)(ada.id, DELETION)
    await gateway.hear(UserDeleted(user_id=ada.id, deletion_id=DELETION))
    await closes(gateway)
    await gateway.work(farewell(gateway))

    again = UserDeleted(user_id=ada.id, deletion_id=DELETION, round=1)
    await gateway.hear(UserDeleted(user_id=ada.id, deletion_id=DELETION), again, again)

    assert [fact.round for fact in await gateway.said(UserPurged)] == [0, 1]


async def test_the_last_receipt_of_many_starts_the_farewell_once(gateway: Gateway, ada: Person) -> None:
    for number in range(3):
        await ada.has_uploaded(f"{number}.txt", str(number).encode())
    already = await ada.has_uploaded("deleted before.txt", b"already")
    await ada.http.delete(f"/api/docs/{already}")
    await CloseAccount(sessions=gateway.sessions)(ada.id, DELETION)
    await closes(gateway)
    await erase_elsewhere(gateway)

    assert await gateway.work(farewell(gateway)) == 1
    assert await gateway.work(farewell(gateway)) == 0


async def test_receipts_of_no_account_are_ignored(gateway: Gateway, ada: Person) -> None:
    await gateway.hear(UserPurged(user_id=ada.id, deletion_id=uuid4(), service="qa", erased=0, remaining=0))

    assert (await ada.http.get("/api/docs")).status_code == 200


async def one(content: bytes) -> Any:
    yield content

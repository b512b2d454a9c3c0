"""Accounts: in with a password, a refresh token or a key, and out for good."""

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from docqa.stack import Stack

from tests.e2e.person import PASSWORD, Json, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

TEXT = "text/plain"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ada(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        yield ada


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nobody(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url) as nobody:
        yield nobody


async def test_what_is_no_account_is_refused_field_by_field(ada: Person, nobody: Person) -> None:
    good = {"email": "new@example.org", "password": PASSWORD}
    cases: list[tuple[dict[str, object], str]] = [
        ({**good, "email": "nonsense"}, "email"),
        ({**good, "email": "a@b@c"}, "email"),
        ({**good, "email": f"{'x' * 300}@example.org"}, "email"),
        ({**good, "email": None}, "email"),
        ({**good, "password": "short"}, "password"),
        ({**good, "password": "x" * 11}, "password"),
        ({**good, "password": "x" * 129}, "password"),
        ({**good, "password": " " * 20}, "password"),
        ({**good, "password": "with a NUL \x00 inside"}, "password"),
        ({**good, "is_admin": True}, "is_admin"),
        ({**good, "name": "x" * 201}, "name"),
        ({"email": good["email"]}, "password"),
        ({}, "email"),
    ]
    for body, field in cases:
        answer = await nobody.http.post("/api/auth/signup", json=body)
        assert answer.status_code == 422, (body, answer.text)
        assert field in {error["field"] for error in answer.json()["errors"]}, (body, answer.text)
    surrogate = json.dumps({**good, "password": "\ud800 and more of it"}).encode()
    assert (await nobody.http.post("/api/auth/signup", content=surrogate)).status_code == 422
    taken = await nobody.http.post("/api/auth/signup", json={**good, "email": ada.email.upper()})
    assert (taken.status_code, taken.json()["code"]) == (409, "auth.email_taken")


async def test_unknown_people_and_wrong_passwords_are_told_the_same(ada: Person, nobody: Person) -> None:
    told = []
    for email in (ada.email, "unknown@example.org"):
        answer = await nobody.http.post("/api/auth/login", json={"email": email, "password": "wrong password!"})
        assert answer.status_code == 401
        told.append({name: value for name, value in answer.json().items() if name != "request_id"})
    assert told[0] == told[1]
    assert told[0]["code"] == "auth.bad_credentials"


async def test_too_many_failures_are_told_to_wait_and_nobody_else_is(ada: Person, nobody: Person) -> None:
    guessed = f"{uuid4().hex}@example.org"

    async def fails(n: int) -> httpx.Response:
        body = {"email": guessed, "password": f"wrong password {n}"}
        return await nobody.http.post("/api/auth/login", json=body)

    answers = await asyncio.gather(*[fails(n) for n in range(12)])
    assert [answer.status_code for answer in answers].count(401) == 10
    late = await fails(99)
    assert (late.status_code, late.json()["code"]) == (429, "rate.login_failures")
    assert 0 < int(late.headers["Retry-After"]) <= 15 * 60
    await ada.logs_in()


async def test_the_form_of_oauth2_gives_the_same_tokens(ada: Person, nobody: Person) -> None:
    form = {"grant_type": "password", "username": ada.email, "password": PASSWORD}
    given = await nobody.http.post("/api/auth/token", data=form)
    assert given.status_code == 200
    logged_in = await nobody.http.post("/api/auth/login", json={"email": ada.email, "password": PASSWORD})
    assert given.json().keys() == logged_in.json().keys()
    assert given.json()["token_type"] == "bearer"
    headers = {"Authorization": f"Bearer {given.json()['access_token']}"}
    assert (await nobody.http.get("/api/auth/me", headers=headers)).json()["email"] == ada.email
    for wrong in ({**form, "password": "wrong password!"}, {**form, "grant_type": "code"}, {}):
        assert (await nobody.http.post("/api/auth/token", data=wrong)).status_code in (401, 422)


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_family(ada: Person, nobody: Person) -> None:
    tokens = (await nobody.http.post("/api/auth/login", json={"email": ada.email, "password": PASSWORD})).json()

    async def refresh(token: str) -> httpx.Response:
        return await nobody.http.post("/api/auth/refresh", json={"refresh_token": token})

    second = await refresh(tokens["refresh_token"])
    assert second.status_code == 200
    reused = await refresh(tokens["refresh_token"])
    assert (reused.status_code, reused.json()["code"]) == (401, "auth.token_invalid")
    assert (await refresh(second.json()["refresh_token"])).status_code == 401
    assert (await refresh(tokens["access_token"])).status_code == 401
    as_access = {"Authorization": f"Bearer {tokens['refresh_token']}"}
    assert (await nobody.http.get("/api/auth/me", headers=as_access)).status_code == 401

    third = (await nobody.http.post("/api/auth/login", json={"email": ada.email, "password": PASSWORD})).json()
    for _ in range(2):
        out = await nobody.http.post("/api/auth/logout", json={"refresh_token": third["refresh_token"]})
        assert out.status_code == 204, "always"
    assert (await refresh(third["refresh_token"])).status_code == 401


def _forged(token: str, **changes: object) -> str:
    """The token with another header, and the signature it had."""
    head, claims, signature = token.split(".")
    header = {**json.loads(urlsafe_b64decode(head + "==")), **changes}
    return f"{urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip('=')}.{claims}.{signature}"


async def test_credentials_that_are_none_open_no_door(ada: Person, nobody: Person) -> None:
    good = ada.http.headers["Authorization"].removeprefix("Bearer ")
    head, claims, signature = good.split(".")
    payload = json.loads(urlsafe_b64decode(claims + "=="))
    other = urlsafe_b64encode(json.dumps({**payload, "sub": str(uuid4())}).encode()).decode().rstrip("=")
    changes: list[dict[str, object]] = [
        {"alg": "none"}, {"alg": "HS256"}, {"kid": "../../etc/passwd"}, {"kid": "unknown"}, {"kid": 5},
        {"typ": "JWT"}, {"jku": "http://127.0.0.1/"}, {"jwk": {}}, {"x5u": "http://127.0.0.1/"}, {"crit": []},
    ]  # fmt: skip
    bad = [
        b"", b"Bearer", b"Basic YTpi", good.encode(), f"Bearer {good} {good}".encode(), b"Bearer x.y.z.not-ours",
        f"Bearer {good[:-8]}AAAAAAAA".encode(), f"Bearer {head}.{other}.{signature}".encode(),
        f"Bearer {head}.{claims}.".encode(), b"Bearer " + b"x" * 20_000, b"Bearer \xff\xfe", b"Bearer dq_",
        b"Bearer dq_" + b"x" * 43, b"Bearer dq_" + b"y" * 5000,
        *[f"Bearer {_forged(good, **change)}".encode() for change in changes],
    ]  # fmt: skip
    for credential in bad:
        answer = await nobody.http.get("/api/docs", headers=[(b"Authorization", credential)])
        assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_invalid"), credential[:60]
    twice = [(b"Authorization", f"Bearer {good}".encode())] * 2
    assert (await nobody.http.get("/api/docs", headers=twice)).status_code == 401
    assert (await nobody.http.get("/api/docs")).status_code == 401
    megabyte = await nobody.http.get("/api/docs", headers=[(b"Authorization", b"Bearer " + b"x" * 2**20)])
    assert megabyte.status_code in (400, 401, 431)


async def test_every_route_that_asks_for_a_login_means_it(ada: Person, nobody: Person) -> None:
    openapi = (await nobody.http.get("/openapi.json")).json()
    asked = 0
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            if operation.get("security"):
                target = path.replace("{", "").replace("}", "")
                for name in operation.get("parameters", []):
                    target = target.replace(name["name"], str(uuid4()))
                answer = await nobody.http.request(method, target)
                expected = 404 if "/deletions/" in path else 401  # an account's receipt is open to whoever knows it
                assert answer.status_code in (401, expected), (method, path, answer.text)
                asked += 1
    assert asked > 20


async def test_a_key_stands_for_its_owner_until_it_is_deleted(ada: Person, nobody: Person) -> None:
    made = await ada.http.post("/api/auth/keys", json={"name": "laptop"})
    assert made.status_code == 201, made.text
    key: Json = made.json()
    assert key["key"].startswith("dq_")
    bearer = {"Authorization": f"Bearer {key['key']}"}
    assert (await nobody.http.get("/api/auth/me", headers=bearer)).json()["email"] == ada.email
    assert (await nobody.http.get("/api/docs", headers=bearer)).status_code == 200
    answer = await nobody.http.post("/api/search", json={"query": "anything"}, headers=bearer)
    assert answer.status_code == 200
    (listed,) = (await ada.gets("/api/auth/keys"))["items"]
    assert "key" not in listed
    assert key["key"] not in str(listed)
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    for body in ({}, {"name": ""}, {"name": "a", "expires_at": past}, {"name": "a", "scopes": ["all"]}):
        assert (await ada.http.post("/api/auth/keys", json=body)).status_code == 422, body
    assert (await ada.http.delete(f"/api/auth/keys/{key['id']}")).status_code == 204
    assert (await nobody.http.get("/api/docs", headers=bearer)).status_code == 401
    gone = await ada.http.delete(f"/api/auth/keys/{key['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "auth.key_not_found")
    assert (await ada.gets("/api/auth/keys"))["items"] == []


@pytest.mark.parametrize("way", ["DELETE /api/auth/me", "POST /api/auth/me/delete"])
async def test_a_deleted_account_is_out_at_once_and_its_receipt_is_open(stack: Stack, nobody: Person, way: str) -> None:
    method, _, path = way.partition(" ")
    async with Person(stack.url) as ada:
        await ada.signs_up()
        (document,) = await ada.uploads(("will.txt", b"The last will.", TEXT))
        link = (await ada.http.post(f"/api/docs/{document['id']}/raw-link")).json()["url"]
        refused = await ada.http.request(method, path, json={"password": "wrong password!"})
        assert (refused.status_code, refused.json()["code"]) == (401, "auth.bad_credentials")
        assert (await ada.http.request(method, path, json={})).status_code == 422
        answer = await ada.http.request(method, path, json={"password": PASSWORD})
        assert answer.status_code == 202, answer.text
        for route in ("/api/auth/me", "/api/docs", f"/api/docs/{document['id']}", "/api/chats"):
            out = await ada.http.get(route)
            assert (out.status_code, out.json()["code"]) == (401, "auth.token_invalid"), route
        assert (await ada.http.post("/api/ask", json={"question": "What is the will?"})).status_code == 401
        assert (await ada.http.post("/api/upload", files=[("files", ("a.txt", b"a", TEXT))])).status_code == 401
        assert (await nobody.http.get(link)).status_code == 404
        again = await nobody.http.post("/api/auth/login", json={"email": ada.email, "password": PASSWORD})
        assert again.status_code == 401
    shown = await nobody.receipt(answer.json()["deletion_id"])
    assert shown["document_id"] is None
    assert set(shown["stores"]) == {"auth", "gateway", "qa"}
    assert {store["remaining"] for store in shown["stores"].values()} == {0}

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from auth.settings import AuthSettings
from chassis.database import Sessions
from sqlalchemy import text

SOME_ID = UUID("5b0d3c1e-4f27-4a86-9d0e-7c2f61a8b934")


async def make(auth: httpx.AsyncClient, person, **body: Any) -> dict[str, Any]:
    answer = await auth.post("/api/auth/keys", json={"name": "script", **body}, headers=person.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def exchange(auth: httpx.AsyncClient, key: str) -> httpx.Response:
    return await auth.post("/internal/keys/exchange", json={"key": key})


async def listed(auth: httpx.AsyncClient, person) -> list[dict[str, Any]]:
    answer = await auth.get("/api/auth/keys", headers=person.headers)
    assert answer.status_code == 200
    return answer.json()["items"]


async def test_a_key_is_shown_once(auth: httpx.AsyncClient, ada) -> None:
    made = await make(auth, ada, name=" my script ")

    assert made["key"].startswith("dq_")
    assert len(made["key"]) > 40
    assert made["key"].startswith(made["prefix"])
    assert made["name"] == "my script"
    assert (await listed(auth, ada)) == [{name: value for name, value in made.items() if name != "key"}]
    answer = await auth.get("/api/auth/keys", headers=ada.headers)
    assert made["key"] not in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_only_a_digest_of_a_key_is_kept(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    made = await make(auth, ada)

    async with sessions() as session:
        row = (await session.execute(text("SELECT * FROM api_keys"))).one()
    assert made["key"] not in str(row)
    assert len(row.digest) == 32


async def test_a_key_is_exchanged_for_a_token_of_a_minute(auth: httpx.AsyncClient, ada) -> None:
    made = await make(auth, ada)

    answer = await exchange(auth, made["key"])

    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 60
    token = answer.json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    me = await auth.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert me.json()["id"] == str(ada.id)


async def test_use_of_a_key_is_noted(auth: httpx.AsyncClient, ada) -> None:
    made = await make(auth, ada)
    assert made["last_used_at"] is None

    await exchange(auth, made["key"])
    [first] = await listed(auth, ada)
    await exchange(auth, made["key"])
    [second] = await listed(auth, ada)

    assert first["last_used_at"] is not None
    assert second["last_used_at"] == first["last_used_at"]  # within the minute


async def test_a_deleted_key_works_no_more(auth: httpx.AsyncClient, ada) -> None:
    made = await make(auth, ada)

    deleted = await auth.delete(f"/api/auth/keys/{made['id']}", headers=ada.headers)

    assert deleted.status_code == 204
    refused = await exchange(auth, made["key"])
    assert refused.status_code == 401
    assert refused.json()["code"] == "auth.token_invalid"
    assert await listed(auth, ada) == []


async def test_someone_elses_key_is_like_one_that_never_existed(auth: httpx.AsyncClient, ada, grace) -> None:
    made = await make(auth, ada)

    foreign = await auth.delete(f"/api/auth/keys/{made['id']}", headers=grace.headers)
    unknown = await auth.delete(f"/api/auth/keys/{uuid4()}", headers=grace.headers)

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["code"] == unknown.json()["code"] == "auth.key_not_found"
    assert foreign.json()["detail"] == unknown.json()["detail"]
    assert await listed(auth, grace) == []
    assert len(await listed(auth, ada)) == 1


async def test_the_newest_key_is_listed_first(auth: httpx.AsyncClient, ada) -> None:
    for name in ("first", "second", "third"):
        await make(auth, ada, name=name)

    assert [key["name"] for key in await listed(auth, ada)] == ["third", "second", "first"]


async def test_a_key_ends_when_it_was_told_to(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    made = await make(auth, ada, expires_at=tomorrow.isoformat())
    assert datetime.fromisoformat(made["expires_at"]) == tomorrow
    assert (await exchange(auth, made["key"])).json()["expires_in"] == 60

    async with sessions.begin() as session:
        await session.execute(text("UPDATE api_keys SET expires_at = now() + interval '20 seconds'"))
    assert (await exchange(auth, made["key"])).json()["expires_in"] <= 20

    async with sessions.begin() as session:
        await session.execute(text("UPDATE api_keys SET expires_at = now()"))
    assert (await exchange(auth, made["key"])).status_code == 401


NO_ENDS = [
    "2020-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2999-01-01T00:00:00",
    "2999-01-01T00:00:00Z",
    "soon",
    1e300,
    -1,
    True,
]

NO_NAMES = ["", "  ", "\u200b", "x" * 201, "a\x00b", "a\nb", None, 7]


async def test_an_end_that_makes_no_sense_is_refused(auth: httpx.AsyncClient, ada) -> None:
    for expires_at in NO_ENDS:
        answer = await auth.post(
            "/api/auth/keys", json={"name": "script", "expires_at": expires_at}, headers=ada.headers
        )

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "expires_at"


async def test_a_key_needs_a_name(auth: httpx.AsyncClient, ada) -> None:
    for name in NO_NAMES:
        answer = await auth.post("/api/auth/keys", json={"name": name}, headers=ada.headers)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "name"


async def test_there_is_an_end_to_how_many_keys_one_may_have(
    auth: httpx.AsyncClient, replica: Callable[[AuthSettings], httpx.AsyncClient], settings: AuthSettings, ada
) -> None:
    strict = replica(settings.model_copy(update={"max_api_keys": 2}))
    await make(strict, ada)
    await make(strict, ada)

    refused = await strict.post("/api/auth/keys", json={"name": "third"}, headers=ada.headers)

    assert refused.status_code == 429
    assert refused.json()["code"] == "quota.api_keys"
    assert "retry-after" in refused.headers


async def test_what_is_no_key_is_refused(auth: httpx.AsyncClient) -> None:
    for key in ("dq_nothing", "x", "dq_" + "☃" * 100, "\x00", "x" * 1024):
        assert (await exchange(auth, key)).status_code == 401


async def test_an_id_that_is_none_is_refused(auth: httpx.AsyncClient, ada) -> None:
    for key_id in ("1", "not-a-uuid", "%00", "01990000-0000-7000-8000-00000000000g"):
        answer = await auth.delete(f"/api/auth/keys/{key_id}", headers=ada.headers)

        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/auth/keys"), ("GET", "/api/auth/keys"), ("DELETE", f"/api/auth/keys/{SOME_ID}")]
)
async def test_keys_need_a_login(edge: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await edge.request(method, path, json={"name": "script"} if method == "POST" else None)

    assert answer.status_code == 401
    assert answer.json()["code"] == "auth.token_invalid"

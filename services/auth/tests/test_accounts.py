import asyncio
import json
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest
from auth.closing import say_again
from auth.main import chores
from auth.settings import AuthSettings
from auth.subscribers import note_purged
from auth.tables import AccountDeletionRow, ApiKeyRow, LoginFailureRow, RefreshFamilyRow, RefreshTokenRow, UserRow
from chassis.database import Sessions
from contracts.envelope import Envelope
from contracts.facts import UserDeleted, UserPurged
from messaging import fences
from messaging.housekeeping import AT_ONCE
from messaging.outbox import Outbox
from messaging.tables import OutboxRow
from sqlalchemy import func, select, text

EVERYTHING = (UserRow, RefreshFamilyRow, RefreshTokenRow, ApiKeyRow, LoginFailureRow)
SOME_ID = UUID("5b0d3c1e-4f27-4a86-9d0e-7c2f61a8b934")


async def close(auth: httpx.AsyncClient, person, password: str | None = None) -> httpx.Response:
    return await auth.request(
        "DELETE", "/api/auth/me", json={"password": password or person.password}, headers=person.headers
    )


async def said(sessions: Sessions) -> list[UserDeleted]:
    async with sessions() as session:
        bodies = await session.scalars(select(OutboxRow.body).order_by(OutboxRow.id))
        return [fact for body in bodies if isinstance(fact := Envelope.parse(body).fact(), UserDeleted)]


async def run_chores(sessions: Sessions, settings: AuthSettings) -> None:
    for chore in chores(settings, Outbox("auth")):
        async with sessions() as session:
            await chore.run(session)
            await session.commit()


async def count(sessions: Sessions, *tables: type) -> int:
    async with sessions() as session:
        return sum([await session.scalar(select(func.count()).select_from(table)) or 0 for table in tables])


async def hear(sessions: Sessions, purged: UserPurged) -> None:
    async with sessions.begin() as session:
        await note_purged(session, await fences.lock(session, purged.subject), purged)


async def make_due(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(text("UPDATE account_deletions SET say_again_at = now()"))


async def say_again_now(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await say_again(session, Outbox("auth"))


async def test_one_can_read_ones_own_account(auth: httpx.AsyncClient, ada) -> None:
    answer = await auth.get("/api/auth/me", headers=ada.headers)

    assert answer.status_code == 200
    assert answer.json() == ada.tokens["user"]


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/auth/me"), ("POST", "/api/auth/me/delete")])
async def test_deleting_an_account_gives_the_id_of_a_receipt(
    auth: httpx.AsyncClient, ada, method: str, path: str
) -> None:
    answer = await auth.request(method, path, json={"password": ada.password}, headers=ada.headers)

    assert answer.status_code == 202
    assert set(answer.json()) == {"deletion_id"}
    assert UUID(answer.json()["deletion_id"]).version == 4


async def test_a_deleted_account_is_erased_at_once_and_said_to_be(
    auth: httpx.AsyncClient, sessions: Sessions, ada
) -> None:
    await auth.post("/api/auth/keys", json={"name": "script"}, headers=ada.headers)
    await auth.post("/api/auth/login", json={"email": ada.email, "password": "a wrong password"})

    deletion_id = UUID((await close(auth, ada)).json()["deletion_id"])

    assert await count(sessions, *EVERYTHING) == 0
    # The user, the login with its token, and the API key.
    assert await said(sessions) == [UserDeleted(user_id=ada.id, deletion_id=deletion_id, erased=4, remaining=0)]


async def test_nobody_elses_account_is_touched(auth: httpx.AsyncClient, ada, grace) -> None:
    await close(auth, ada)

    assert (await auth.get("/api/auth/me", headers=grace.headers)).status_code == 200
    refreshed = await auth.post("/api/auth/refresh", json={"refresh_token": grace.tokens["refresh_token"]})
    assert refreshed.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/auth/me", None),
        ("DELETE", "/api/auth/me", {"password": "correct horse battery staple"}),
        ("POST", "/api/auth/me/delete", {"password": "correct horse battery staple"}),
        ("POST", "/api/auth/keys", {"name": "script"}),
        ("GET", "/api/auth/keys", None),
        ("DELETE", f"/api/auth/keys/{SOME_ID}", None),
    ],
)
async def test_a_deleted_user_is_out_on_every_route(
    auth: httpx.AsyncClient, ada, method: str, path: str, body: dict[str, str] | None
) -> None:
    await close(auth, ada)

    answer = await auth.request(method, path, json=body, headers=ada.headers)

    assert answer.status_code == 401
    assert answer.json()["code"] == "auth.token_invalid"
    assert "www-authenticate" in answer.headers


async def test_a_deleted_user_cannot_come_back_with_old_credentials(auth: httpx.AsyncClient, ada) -> None:
    made = await auth.post("/api/auth/keys", json={"name": "script"}, headers=ada.headers)
    await close(auth, ada)

    login = await auth.post("/api/auth/login", json={"email": ada.email, "password": ada.password})
    refreshed = await auth.post("/api/auth/refresh", json={"refresh_token": ada.tokens["refresh_token"]})
    exchanged = await auth.post("/internal/keys/exchange", json={"key": made.json()["key"]})

    assert [login.status_code, refreshed.status_code, exchanged.status_code] == [401, 401, 401]


async def test_the_address_is_free_again_for_a_new_account(auth: httpx.AsyncClient, sign_up, ada) -> None:
    await close(auth, ada)

    assert (await sign_up()).id != ada.id


async def test_a_wrong_password_deletes_nothing_and_counts_as_a_failure(
    auth: httpx.AsyncClient, sessions: Sessions, ada
) -> None:
    answers = [await close(auth, ada, "a wrong password") for _ in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[0].json()["code"] == "auth.bad_credentials"
    assert await said(sessions) == []
    login = await auth.post("/api/auth/login", json={"email": ada.email, "password": ada.password})
    assert login.status_code == 429


async def test_deleting_at_once_makes_one_receipt(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    answers = await asyncio.gather(*(close(auth, ada) for _ in range(6)))

    assert sorted(answer.status_code for answer in answers) == [202] + [401] * 5
    assert len(await said(sessions)) == 1


async def test_a_refresh_that_races_with_the_deletion_leaves_no_token(
    auth: httpx.AsyncClient, sessions: Sessions, sign_up
) -> None:
    for round_ in range(5):
        person = await sign_up(f"racer{round_}@example.org")
        token = {"refresh_token": person.tokens["refresh_token"]}
        login = {"email": person.email, "password": person.password}

        closed, refreshed, logged_in = await asyncio.gather(
            close(auth, person), auth.post("/api/auth/refresh", json=token), auth.post("/api/auth/login", json=login)
        )

        assert closed.status_code == 202
        assert refreshed.status_code in (200, 401)
        assert logged_in.status_code in (200, 401)
        assert await count(sessions, UserRow, RefreshFamilyRow, RefreshTokenRow) == 0
    assert {(fact.remaining, fact.round) for fact in await said(sessions)} == {(0, 0)}


async def test_a_deletion_is_said_again_until_gateway_and_qa_have_purged(
    auth: httpx.AsyncClient, sessions: Sessions, ada
) -> None:
    deletion_id = UUID((await close(auth, ada)).json()["deletion_id"])
    await say_again_now(sessions)
    assert [fact.round for fact in await said(sessions)] == [0]  # not due yet

    await make_due(sessions)
    await say_again_now(sessions)
    assert [(fact.round, fact.deletion_id) for fact in await said(sessions)] == [(0, deletion_id), (1, deletion_id)]

    purged = UserPurged(user_id=ada.id, deletion_id=deletion_id, service="gateway", erased=3, remaining=0)
    await hear(sessions, purged)
    await hear(sessions, purged)
    assert await count(sessions, AccountDeletionRow) == 1
    await hear(sessions, purged.model_copy(update={"service": "qa"}))
    await make_due(sessions)
    await say_again_now(sessions)

    assert await count(sessions, AccountDeletionRow) == 0
    assert [fact.round for fact in await said(sessions)] == [0, 1]


async def test_a_purge_that_is_none_changes_nothing(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    deletion_id = UUID((await close(auth, ada)).json()["deletion_id"])
    purged = UserPurged(user_id=ada.id, deletion_id=deletion_id, service="gateway", erased=3, remaining=0)

    for service in ("gateway", "qa"):
        for change in ({"user_id": uuid4()}, {"deletion_id": uuid4()}, {"remaining": 1}):
            await hear(sessions, purged.model_copy(update={"service": service, **change}))

    async with sessions() as session:
        deletion = (await session.scalars(select(AccountDeletionRow))).one()
        assert (deletion.gateway_purged_at, deletion.qa_purged_at) == (None, None)


async def test_the_pauses_double_up_to_an_hour(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    await close(auth, ada)
    pauses = []
    for _ in range(9):
        await make_due(sessions)
        await say_again_now(sessions)
        async with sessions() as session:
            pauses.append(
                await session.scalar(text("SELECT extract(epoch FROM say_again_at - now()) FROM account_deletions"))
            )

    assert [round(float(pause) / 60) for pause in pauses] == [2, 4, 8, 16, 32, 60, 60, 60, 60]


async def test_a_deletion_is_said_again_however_often_it_was_said(
    auth: httpx.AsyncClient, sessions: Sessions, ada
) -> None:
    await close(auth, ada)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE account_deletions SET round = 1000, say_again_at = now()"))

    await say_again_now(sessions)

    assert [fact.round for fact in await said(sessions)] == [0, 1001]


async def test_what_is_said_of_a_deletion_carries_ids_alone(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    await close(auth, ada)

    async with sessions() as session:
        body = json.loads((await session.scalars(select(OutboxRow.body))).one())
    assert set(body["data"]) == {"user_id", "deletion_id", "round", "erased", "remaining"}
    assert ada.email not in str(body)


async def test_every_chore_runs_on_an_empty_database(sessions: Sessions, settings: AuthSettings) -> None:
    await run_chores(sessions, settings)


async def test_spent_tokens_and_old_failures_are_forgotten(
    auth: httpx.AsyncClient, sessions: Sessions, settings: AuthSettings, ada, grace
) -> None:
    await auth.post("/api/auth/login", json={"email": ada.email, "password": "a wrong password"})
    refreshed = await auth.post("/api/auth/refresh", json={"refresh_token": grace.tokens["refresh_token"]})
    async with sessions.begin() as session:
        await session.execute(text("UPDATE login_failures SET failed_at = failed_at - interval '16 minutes'"))
        await session.execute(
            text("""
                UPDATE refresh_tokens SET expires_at = now() - interval '1 second'
                WHERE spent_at IS NOT NULL
                   OR family_id IN (SELECT id FROM refresh_families WHERE user_id = :ada)
            """),
            {"ada": ada.id},
        )

    await run_chores(sessions, settings)

    assert await count(sessions, LoginFailureRow) == 0
    assert await count(sessions, RefreshTokenRow) == 1
    assert await count(sessions, RefreshFamilyRow) == 1
    live = refreshed.json()["refresh_token"]
    assert (await auth.post("/api/auth/refresh", json={"refresh_token": live})).status_code == 200


async def test_however_many_tokens_have_expired_none_outlives_the_next_round(
    sessions: Sessions, settings: AuthSettings, ada
) -> None:
    async with sessions.begin() as session:
        await session.execute(
            text("""
                WITH families AS (
                    INSERT INTO refresh_families (id, user_id)
                    SELECT gen_random_uuid(), :ada FROM generate_series(1, :many) RETURNING id)
                INSERT INTO refresh_tokens (digest, family_id, expires_at)
                SELECT sha256(id::text::bytea), id, now() - interval '1 second' FROM families
            """),
            {"ada": ada.id, "many": 2 * AT_ONCE + 1},
        )

    await run_chores(sessions, settings)

    assert await count(sessions, RefreshTokenRow, RefreshFamilyRow) == 2, "the token that ada has, and her login"


async def test_several_replicas_agree_on_who_is_deleted(
    auth: httpx.AsyncClient, replica: Callable[[AuthSettings], httpx.AsyncClient], settings: AuthSettings, ada
) -> None:
    other = replica(settings)
    assert (await other.get("/api/auth/me", headers=ada.headers)).status_code == 200

    await close(auth, ada)

    assert (await other.get("/api/auth/me", headers=ada.headers)).status_code == 401


async def test_no_secret_is_logged(
    auth: httpx.AsyncClient, sign_up, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")  # whatever tests before this one have set
    person = await sign_up(password="canary in a password")
    made = (await auth.post("/api/auth/keys", json={"name": "script"}, headers=person.headers)).json()
    await auth.post("/internal/keys/exchange", json={"key": made["key"]})
    for body in ({"refresh_token": person.tokens["refresh_token"]}, {"refresh_token": "canary-token"}):
        await auth.post("/api/auth/refresh", json=body)
        await auth.post("/api/auth/refresh", json=body)
    for password in ("canary in a wrong password", "canary\x00"):
        await auth.post("/api/auth/login", json={"email": person.email, "password": password})
        await auth.post("/api/auth/signup", json={"email": person.email, "password": password})
        await auth.post("/api/auth/token", data={"username": person.email, "password": password})
    await auth.get("/api/auth/me", headers={"Authorization": "Bearer canary"})

    out, err = capfd.readouterr()
    logged = out + err + caplog.text
    assert "/api/auth/login" in logged
    for secret in ("canary", person.tokens["access_token"], person.tokens["refresh_token"], made["key"]):
        assert secret not in logged

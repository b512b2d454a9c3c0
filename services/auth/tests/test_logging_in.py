import asyncio
import json
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from auth.errors import BadCredentials
from auth.issuing import Issuer
from auth.logging_in import LogIn
from auth.passwords import Comparison, Passwords
from auth.proving import Prove
from auth.settings import AuthSettings
from auth.signing import KeyRing
from auth.tables import LoginFailureRow
from auth.throttling import Throttle, account_of
from chassis.database import Sessions
from chassis.transactions import Transactions
from sqlalchemy import func, select, text


async def log_in(auth: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    return await auth.post("/api/auth/login", json={"email": email, "password": password})


async def fail(auth: httpx.AsyncClient, times: int, email: str = "ada@example.org") -> list[int]:
    return [(await log_in(auth, email, "a wrong password")).status_code for _ in range(times)]


def without_ids(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}


async def test_logging_in_gives_the_same_shape_as_signing_up(auth: httpx.AsyncClient, ada) -> None:
    answer = await log_in(auth, "ADA@example.org", ada.password)

    assert answer.status_code == 200
    said = answer.json()
    assert set(said) == set(ada.tokens)
    assert said["user"] == ada.tokens["user"]
    assert said["refresh_token"] != ada.tokens["refresh_token"]


@pytest.mark.parametrize("path", ["/api/auth/login", "/api/auth/me/delete"])
async def test_a_password_with_half_a_character_is_wrong(auth: httpx.AsyncClient, ada, path: str) -> None:
    body = {"email": ada.email, "password": "twelve \ud800 chars"} if "login" in path else {"password": "\ud800"}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ada.tokens['access_token']}"}

    answer = await auth.post(path, content=json.dumps(body), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "auth.bad_credentials")


async def test_the_oauth2_form_gives_the_same_tokens(auth: httpx.AsyncClient, ada) -> None:
    form = {"grant_type": "password", "username": ada.email, "password": ada.password, "scope": "", "foo": "ignored"}

    answer = await auth.post("/api/auth/token", data=form)

    assert answer.status_code == 200
    assert set(answer.json()) == set(ada.tokens)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"username": "ada@example.org", "password": "a wrong password"}, 401),
        ({"grant_type": "implicit", "username": "ada@example.org", "password": "twelve chars"}, 422),
        ({"username": "ada@example.org"}, 422),
        ({"username": "ada", "password": "twelve chars"}, 422),
        ({"username": "ada@example.org", "password": ""}, 422),
        ({}, 422),
    ],
)
async def test_a_bad_form_gets_a_clear_error(auth: httpx.AsyncClient, ada, form: dict[str, str], status: int) -> None:
    answer = await auth.post("/api/auth/token", data=form)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_users_and_wrong_passwords_get_the_same_answer(auth: httpx.AsyncClient, ada) -> None:
    wrong = await log_in(auth, ada.email, "a wrong password")
    unknown = await log_in(auth, "nobody@example.org", "a wrong password")

    assert wrong.status_code == unknown.status_code == 401
    assert without_ids(wrong) == without_ids(unknown)
    assert wrong.json()["code"] == "auth.bad_credentials"
    assert wrong.headers["www-authenticate"] == unknown.headers["www-authenticate"]


async def test_unknown_users_take_as_long_as_wrong_passwords(
    replica: Callable[[AuthSettings], httpx.AsyncClient], settings: AuthSettings, ada
) -> None:
    auth = replica(settings.model_copy(update={"login_failures": 1000}))

    async def seconds(email: str) -> float:
        begun = time.perf_counter()
        await log_in(auth, email, "a wrong password")
        return time.perf_counter() - begun

    await seconds(ada.email)
    pairs = [(await seconds(ada.email), await seconds("nobody@example.org")) for _ in range(15)]

    known, unknown = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert abs(known - unknown) < 0.5 * max(known, unknown)


async def test_ten_failures_are_answered_and_the_eleventh_has_to_wait(auth: httpx.AsyncClient, ada) -> None:
    assert await fail(auth, 10) == [401] * 10

    refused = await log_in(auth, "ADA@example.org", ada.password)

    assert refused.status_code == 429
    assert refused.json()["code"] == "rate.login_failures"
    assert 800 < int(refused.headers["retry-after"]) <= 900


async def test_another_account_does_not_feel_it(auth: httpx.AsyncClient, ada, grace) -> None:
    await fail(auth, 11, ada.email)

    assert (await log_in(auth, grace.email, grace.password)).status_code == 200


async def test_an_unknown_account_is_throttled_like_a_known_one(auth: httpx.AsyncClient) -> None:
    assert await fail(auth, 11, "nobody@example.org") == [401] * 10 + [429]


async def test_replicas_count_together(
    auth: httpx.AsyncClient, replica: Callable[[AuthSettings], httpx.AsyncClient], settings: AuthSettings, ada
) -> None:
    await fail(auth, 10)

    assert (await log_in(replica(settings), ada.email, ada.password)).status_code == 429


async def test_of_guesses_made_at_once_only_ten_learn_anything(auth: httpx.AsyncClient, ada) -> None:
    guesses = await asyncio.gather(*(log_in(auth, ada.email, f"wrong password {guess}") for guess in range(25)))

    assert sorted(answer.status_code for answer in guesses) == [401] * 10 + [429] * 15


async def test_logging_in_often_at_once_is_no_failure(auth: httpx.AsyncClient, ada) -> None:
    answers = await asyncio.gather(*(log_in(auth, ada.email, ada.password) for _ in range(16)))

    assert {answer.status_code for answer in answers} == {200}


async def test_the_right_password_clears_the_failures(auth: httpx.AsyncClient, ada) -> None:
    await fail(auth, 9)
    assert (await log_in(auth, ada.email, ada.password)).status_code == 200

    assert await fail(auth, 10) == [401] * 10


async def test_failures_stop_counting_after_the_window(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    await fail(auth, 10)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE login_failures SET failed_at = failed_at - interval '15 minutes'"))

    assert (await log_in(auth, ada.email, ada.password)).status_code == 200


async def test_a_failure_is_kept_without_the_address(auth: httpx.AsyncClient, sessions: Sessions) -> None:
    await fail(auth, 1, "Nobody@example.org")

    async with sessions() as session:
        accounts = list(await session.scalars(select(LoginFailureRow.account)))
        count = await session.scalar(select(func.count()).select_from(LoginFailureRow))
    assert accounts == [account_of("nobody@EXAMPLE.org")]
    assert count == 1


async def test_when_too_many_wait_one_is_told_to_come_back(
    replica: Callable[[AuthSettings], httpx.AsyncClient], settings: AuthSettings, ada
) -> None:
    auth = replica(settings.model_copy(update={"password_threads": 1, "password_queue": 2}))

    answers = await asyncio.gather(*(log_in(auth, ada.email, ada.password) for _ in range(12)))

    busy = [answer for answer in answers if answer.status_code != 200]
    assert busy
    assert {answer.status_code for answer in busy} == {503}
    assert {answer.json()["code"] for answer in busy} == {"service.unavailable"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in busy)


async def test_a_password_kept_at_an_older_setting_is_kept_anew(
    auth: httpx.AsyncClient, sessions: Sessions, ada
) -> None:
    from argon2 import PasswordHasher

    older = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(ada.password)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE users SET password_hash = :older"), {"older": older})

    assert (await log_in(auth, ada.email, ada.password)).status_code == 200

    async with sessions() as session:
        kept = await session.scalar(text("SELECT password_hash FROM users"))
    assert "m=19456,t=2,p=1" in kept
    assert (await log_in(auth, ada.email, ada.password)).status_code == 200


async def test_the_same_characters_typed_on_another_keyboard_are_the_same_password(
    auth: httpx.AsyncClient, sign_up
) -> None:
    await sign_up(password="caf\u00e9 caf\u00e9 caf\u00e9")

    answer = await log_in(auth, "ada@example.org", "cafe\u0301 cafe\u0301 cafe\u0301")

    assert answer.status_code == 200


@pytest.mark.parametrize("password", ["short", "x" * 1024, "nul \x00 in it"])
async def test_a_password_that_nobody_could_have_is_simply_wrong(auth: httpx.AsyncClient, ada, password: str) -> None:
    assert (await log_in(auth, ada.email, password)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "ada@example.org"},
        {"email": "ada@example.org", "password": ""},
        {"email": "ada@example.org", "password": "x" * 1025},
        {"email": "nothing", "password": "twelve chars"},
        {"email": "ada@example.org", "password": "twelve chars", "is_admin": True},
        {"email": {"$ne": ""}, "password": {"$ne": ""}},
    ],
)
async def test_a_login_that_is_none_is_refused(edge: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await edge.post("/api/auth/login", json=body)).status_code == 422


async def test_a_body_of_a_megabyte_is_refused(edge: httpx.AsyncClient) -> None:
    body = {"email": "ada@example.org", "password": "x" * 1_100_000}

    answer = await edge.post("/api/auth/login", json=body)

    assert answer.status_code == 413


class DeletesMeanwhile(Passwords):
    """While it compares, the account is deleted."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__(threads=1, waiting=1)
        self._sessions = sessions

    async def compare(self, password: str, kept: str | None) -> Comparison:
        async with self._sessions.begin() as session:
            await session.execute(text("DELETE FROM users"))
        return await super().compare(password, kept)


async def test_an_account_that_is_deleted_during_its_login_is_not_logged_in(sessions: Sessions, ada) -> None:
    transactions = Transactions(sessions.kw["bind"], sessions)
    prove = Prove(
        transactions,
        passwords=DeletesMeanwhile(sessions),
        throttle=Throttle(failures=10, window=timedelta(minutes=15)),
    )
    issuer = Issuer(KeyRing(sessions), access_seconds=900, refresh_life=timedelta(days=30))

    with pytest.raises(BadCredentials):
        await LogIn(transactions, prove=prove, issuer=issuer)(ada.email, ada.password)
    await transactions.close()

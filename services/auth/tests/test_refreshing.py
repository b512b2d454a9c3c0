import asyncio

import httpx
import pytest
from auth.tables import RefreshFamilyRow, RefreshTokenRow
from chassis.database import Sessions
from sqlalchemy import func, select, text


async def refresh(auth: httpx.AsyncClient, token: str) -> httpx.Response:
    return await auth.post("/api/auth/refresh", json={"refresh_token": token})


async def is_live(auth: httpx.AsyncClient, token: str) -> bool:
    return (await refresh(auth, token)).status_code == 200


async def test_refreshing_gives_a_new_pair_and_spends_the_old_one(auth: httpx.AsyncClient, ada) -> None:
    first = ada.tokens["refresh_token"]

    answer = await refresh(auth, first)

    assert answer.status_code == 200
    pair = answer.json()
    assert set(pair) == set(ada.tokens)
    assert pair["user"] == ada.tokens["user"]
    assert pair["refresh_token"] != first
    assert pair["access_token"] != ada.tokens["access_token"]
    assert await is_live(auth, pair["refresh_token"])


async def test_reuse_revokes_the_family(auth: httpx.AsyncClient, ada) -> None:
    first = ada.tokens["refresh_token"]
    second = (await refresh(auth, first)).json()["refresh_token"]

    replayed = await refresh(auth, first)

    assert replayed.status_code == 401
    assert replayed.json()["code"] == "auth.token_invalid"
    assert "www-authenticate" in replayed.headers
    assert not await is_live(auth, second)


async def test_reuse_does_not_touch_another_login_of_the_same_user(auth: httpx.AsyncClient, ada) -> None:
    other = (await auth.post("/api/auth/login", json={"email": ada.email, "password": ada.password})).json()
    first = ada.tokens["refresh_token"]
    await refresh(auth, first)
    await refresh(auth, first)

    assert await is_live(auth, other["refresh_token"])


async def test_twenty_at_once_leave_no_two_live_successors(auth: httpx.AsyncClient, ada) -> None:
    answers = await asyncio.gather(*(refresh(auth, ada.tokens["refresh_token"]) for _ in range(20)))

    successors = [answer.json()["refresh_token"] for answer in answers if answer.status_code == 200]
    assert len(successors) == 1
    assert {answer.status_code for answer in answers} == {200, 401}
    assert not await is_live(auth, successors[0])  # nineteen of them were reuse


async def test_a_long_chain_stays_one_family(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    token = ada.tokens["refresh_token"]
    for _ in range(5):
        token = (await refresh(auth, token)).json()["refresh_token"]

    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(RefreshFamilyRow)) == 1
        assert await session.scalar(select(func.count()).select_from(RefreshTokenRow)) == 6


async def test_a_refresh_token_ends_after_thirty_days(auth: httpx.AsyncClient, sessions: Sessions, ada) -> None:
    async with sessions.begin() as session:
        left = await session.scalar(text("SELECT extract(epoch FROM expires_at - now()) FROM refresh_tokens"))
        await session.execute(text("UPDATE refresh_tokens SET expires_at = now()"))

    assert left == pytest.approx(30 * 86400, abs=60)
    assert (await refresh(auth, ada.tokens["refresh_token"])).status_code == 401


async def test_an_expired_token_that_was_spent_revokes_nothing(
    auth: httpx.AsyncClient, sessions: Sessions, ada
) -> None:
    first = ada.tokens["refresh_token"]
    second = (await refresh(auth, first)).json()["refresh_token"]
    async with sessions.begin() as session:
        await session.execute(text("UPDATE refresh_tokens SET expires_at = now() WHERE spent_at IS NOT NULL"))

    assert (await refresh(auth, first)).status_code == 401
    assert await is_live(auth, second)


async def test_what_is_no_refresh_token_is_refused(auth: httpx.AsyncClient) -> None:
    for token in ("xyzzy", "a.b.c", "dq_not-a-refresh-token", "☃" * 20, "x" * 1024, "nul\x00"):
        answer = await refresh(auth, token)

        assert answer.status_code == 401
        assert answer.json()["code"] == "auth.token_invalid"
        assert token not in answer.text


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(auth: httpx.AsyncClient, ada) -> None:
    assert (await refresh(auth, ada.tokens["access_token"])).status_code == 401

    headers = {"Authorization": f"Bearer {ada.tokens['refresh_token']}"}
    assert (await auth.get("/api/auth/me", headers=headers)).json()["code"] == "auth.token_invalid"


@pytest.mark.parametrize("body", [{}, {"refresh_token": ""}, {"refresh_token": 7}, {"refresh_token": "x" * 1025}])
async def test_a_body_that_names_no_token_is_refused(edge: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await edge.post("/api/auth/refresh", json=body)).status_code == 422


async def test_logging_out_ends_the_login(auth: httpx.AsyncClient, ada) -> None:
    spent = ada.tokens["refresh_token"]
    live = (await refresh(auth, spent)).json()["refresh_token"]

    answer = await auth.post("/api/auth/logout", json={"refresh_token": spent})

    assert answer.status_code == 204
    assert answer.content == b""
    assert not await is_live(auth, live)


async def test_logging_out_is_always_fine(auth: httpx.AsyncClient, ada) -> None:
    for given in ("", "nothing", "x" * 5000, "\x00", ada.tokens["refresh_token"], ada.tokens["refresh_token"]):
        assert (await auth.post("/api/auth/logout", json={"refresh_token": given})).status_code == 204


async def test_logging_out_leaves_other_logins_alone(auth: httpx.AsyncClient, ada) -> None:
    other = (await auth.post("/api/auth/login", json={"email": ada.email, "password": ada.password})).json()

    await auth.post("/api/auth/logout", json={"refresh_token": ada.tokens["refresh_token"]})

    assert await is_live(auth, other["refresh_token"])

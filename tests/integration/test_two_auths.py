"""Two auths are one: what is done at one holds at the other in the same instant."""

import asyncio
from collections import Counter

import httpx
import pytest

from tests.e2e.person import PASSWORD, Json, Person
from tests.integration.cluster import Cluster
from tests.integration.people import a_file, elsewhere

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

AT_ONCE = 10


async def test_a_refresh_token_spent_at_one_is_refused_at_the_other(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada, Person(there) as also:
        first = (await _signup(ada, ada.email)).json()["refresh_token"]
        second = await _refreshed(ada, first)
        third = await _refreshed(also, second)

        assert await _refused(also, first)
        assert await _refused(ada, third), "whoever has used a spent one may be a thief: nobody of the family goes on"


async def test_of_many_refreshes_at_both_at_once_one_is_served(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada, Person(there) as also:
        token = (await _signup(ada, ada.email)).json()["refresh_token"]

        answers = await asyncio.gather(*(_refresh(person, token) for person in [ada, also] * AT_ONCE))

        assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 2 * AT_ONCE - 1}
        (served,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert await _refused(also, served["refresh_token"])


async def test_an_address_taken_at_both_at_once_has_one_account(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada, Person(there) as also:
        answers = await asyncio.gather(*(_signup(person, ada.email) for person in [ada, also] * 3))

        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 5}


async def test_both_sign_with_keys_that_both_show(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada, Person(there) as eve:
        await ada.signs_up()
        await eve.signs_up()
        assert await ada.gets("/.well-known/jwks.json") == await eve.gets("/.well-known/jwks.json")
        for person, url in ((ada, there), (eve, here)):
            async with elsewhere(person, url) as also:
                assert (await also.gets("/api/auth/me"))["email"] == person.email


async def test_an_account_closed_at_one_is_out_at_the_other_at_once(scaled: Cluster) -> None:
    here, there = scaled.gateways
    async with Person(here) as ada:
        await ada.signs_up()
        async with elsewhere(ada, there) as also:
            await also.is_ready_with(a_file(31))

            closed = await ada.closes_her_account()

            assert (await also.http.get("/api/docs")).status_code == 401
        async with Person(there) as anybody:
            receipt = await anybody.receipt(closed["deletion_id"])
            assert set(receipt["stores"]) == {"auth", "gateway", "qa"}
            assert all(store["remaining"] == 0 for store in receipt["stores"].values())


async def _signup(person: Person, email: str) -> httpx.Response:
    return await person.http.post("/api/auth/signup", json={"email": email, "password": PASSWORD})


async def _refresh(person: Person, token: str) -> httpx.Response:
    return await person.http.post("/api/auth/refresh", json={"refresh_token": token})


async def _refreshed(person: Person, token: str) -> str:
    answer = await _refresh(person, token)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return str(body["refresh_token"])


async def _refused(person: Person, token: str) -> bool:
    answer = await _refresh(person, token)
    return answer.status_code == 401 and answer.json()["code"] == "auth.token_invalid"

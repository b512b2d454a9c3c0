import asyncio
from uuid import UUID

import httpx
import jwt
import pytest
from auth.tables import RefreshTokenRow, UserRow
from chassis.database import Sessions
from sqlalchemy import select, text


async def test_signing_up_gives_the_user_and_the_first_tokens(auth: httpx.AsyncClient) -> None:
    answer = await auth.post(
        "/api/auth/signup", json={"email": "Ada@Example.org", "password": "twelve chars", "name": " Ada L. "}
    )

    assert answer.status_code == 201
    said = answer.json()
    assert said["user"]["email"] == "Ada@example.org"
    assert said["user"]["name"] == "Ada L."
    assert UUID(said["user"]["id"]).version == 7
    assert said["token_type"] == "bearer"
    assert said["expires_in"] == 900
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]


async def test_the_access_token_says_who_one_is_and_nothing_else(ada) -> None:
    token = ada.tokens["access_token"]

    claims = jwt.decode(token, options={"verify_signature": False})

    assert set(claims) == {"iss", "aud", "sub", "iat", "exp", "jti", "email"}
    assert claims["sub"] == str(ada.id)
    assert claims["exp"] - claims["iat"] == 900
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["typ"], set(header)) == ("EdDSA", "at+jwt", {"alg", "typ", "kid"})


async def test_an_address_is_taken_however_its_letters_are_cased(auth: httpx.AsyncClient, ada) -> None:
    answer = await auth.post("/api/auth/signup", json={"email": "ADA@EXAMPLE.ORG", "password": "another password"})

    assert answer.status_code == 409
    assert answer.json()["code"] == "auth.email_taken"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_of_sign_ups_at_once_with_one_address_one_succeeds(auth: httpx.AsyncClient) -> None:
    body = {"email": "ada@example.org", "password": "twelve chars"}

    answers = await asyncio.gather(*(auth.post("/api/auth/signup", json=body) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_neither_password_nor_tokens_are_kept_as_they_are(sessions: Sessions, ada) -> None:
    async with sessions() as session:
        user = (await session.scalars(select(UserRow))).one()
        token = (await session.scalars(select(RefreshTokenRow))).one()
        everything = str(
            (await session.execute(text("SELECT users.*, refresh_tokens.* FROM users, refresh_tokens"))).all()
        )

    assert user.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert ada.password not in everything
    assert ada.tokens["refresh_token"] not in everything
    assert len(token.digest) == 32


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": "eleven char"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"password": " " * 12}, "password"),
        ({"password": "nul \x00 within it"}, "password"),
        ({"password": "\N{ZERO WIDTH SPACE}" * 12}, "password"),
        ({"password": 123456789012}, "password"),
        ({"password": None}, "password"),
        ({"email": "ada"}, "email"),
        ({"email": "ada@"}, "email"),
        ({"email": "ada@localhost"}, "email"),
        ({"email": "ada@exam ple.org"}, "email"),
        ({"email": "ada@example..org"}, "email"),
        ({"email": "Ada <ada@example.org>"}, "email"),
        ({"email": "ada@example.org\nBcc: all@example.org"}, "email"),
        ({"email": "ada\x00@example.org"}, "email"),
        ({"email": "a" * 250 + "@example.org"}, "email"),
        ({"email": ["ada@example.org"]}, "email"),
        ({"name": "A\x00da"}, "name"),
        ({"name": "A" * 201}, "name"),
        ({"is_admin": True}, "is_admin"),
        ({"id": "01990000-0000-7000-8000-000000000001"}, "id"),
    ],
)
async def test_what_cannot_be_taken_is_refused_by_name(edge: httpx.AsyncClient, change: dict, field: str) -> None:
    body = {"email": "ada@example.org", "password": "twelve chars", **change}

    answer = await edge.post("/api/auth/signup", json=body)

    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "request.invalid"
    assert [error["field"] for error in problem["errors"]] == [field]
    sent = change[field]
    assert not isinstance(sent, str) or len(sent.strip()) < 4 or sent not in answer.text


@pytest.mark.parametrize("field", ["email", "password", "name"])
async def test_a_lone_surrogate_is_refused(edge: httpx.AsyncClient, field: str) -> None:
    body = {
        "email": '"ada@example.org"',
        "password": '"twelve chars"',
        "name": '"Ada"',
        field: '"twelve \\ud800 chars"',
    }
    raw = "{" + ",".join(f'"{name}":{value}' for name, value in body.items()) + "}"

    answer = await edge.post("/api/auth/signup", content=raw, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("raw", ["", "{", "[]", "null", "NaN", '"text"', "[" * 5000, "\xff"])
async def test_a_body_that_is_no_sign_up_is_refused(edge: httpx.AsyncClient, raw: str) -> None:
    answer = await edge.post(
        "/api/auth/signup", content=raw.encode("latin-1"), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_odd_addresses_that_are_real_are_taken(auth: httpx.AsyncClient) -> None:
    for email in (
        "ada@intranet.local",
        "ada@x.test",
        "ädä@bücher.example",
        "a.d+a_l@sub.example.org",
        "o'hara@example.org",
    ):
        answer = await auth.post("/api/auth/signup", json={"email": email, "password": "twelve chars"})

        assert answer.status_code == 201
        assert answer.json()["user"]["email"] == email


async def test_a_password_may_have_128_characters_of_any_script(auth: httpx.AsyncClient) -> None:
    body = {"email": "ada@example.org", "password": "密" * 127 + "🔑"}

    assert (await auth.post("/api/auth/signup", json=body)).status_code == 201
    assert (await auth.post("/api/auth/login", json=body)).status_code == 200

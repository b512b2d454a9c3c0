import asyncio
import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from auth.settings import AuthSettings
from auth.signing import KeyRing, read_keys, rotate
from auth.tables import SigningKeyRow
from chassis.database import Sessions
from chassis.identity import TokenVerifier
from chassis.remote_keys import parse_jwks
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, text

from tests.stubs.keys import GivenKeys

SIGNS_FOR = timedelta(days=30)
LONGEST_TOKEN = timedelta(minutes=15)


async def turn(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await rotate(session, signs_for=SIGNS_FOR, longest_token=LONGEST_TOKEN)


async def pass_time(sessions: Sessions, by: timedelta) -> None:
    async with sessions.begin() as session:
        await session.execute(
            text("UPDATE signing_keys SET active_from = active_from - CAST(:by AS interval)"), {"by": by}
        )


async def kids(sessions: Sessions) -> list[str]:
    async with sessions() as session:
        return list(await session.scalars(select(SigningKeyRow.kid).order_by(SigningKeyRow.active_from)))


async def signing_kid(sessions: Sessions) -> str:
    async with sessions.begin() as session:
        return (await read_keys(session)).signing.kid


async def test_the_keys_are_public(auth: httpx.AsyncClient, ada) -> None:
    answer = await auth.get("/.well-known/jwks.json")

    assert answer.status_code == 200
    [key] = answer.json()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    assert "d" not in key
    assert answer.headers["cache-control"] == "public, max-age=300"


async def test_other_services_verify_with_them(auth: httpx.AsyncClient, ada) -> None:
    published = (await auth.get("/.well-known/jwks.json")).content

    caller = await TokenVerifier(GivenKeys(parse_jwks(published))).verify(ada.tokens["access_token"])

    assert caller.user_id == ada.id
    assert caller.email == ada.email


async def test_replicas_that_start_at_once_agree_on_one_key(sessions: Sessions) -> None:
    rings = [KeyRing(sessions) for _ in range(8)]

    signing = await asyncio.gather(*(ring.keys() for ring in rings))

    assert len({keys.signing.kid for keys in signing}) == 1
    assert len(await kids(sessions)) == 1


async def test_a_token_of_one_replica_is_good_at_another(
    replica: Callable[[AuthSettings], httpx.AsyncClient], settings: AuthSettings, ada
) -> None:
    assert (await replica(settings).get("/api/auth/me", headers=ada.headers)).status_code == 200


async def test_a_key_signs_for_thirty_days(sessions: Sessions) -> None:
    first = await signing_kid(sessions)

    await pass_time(sessions, SIGNS_FOR - timedelta(minutes=11))
    await turn(sessions)

    assert await kids(sessions) == [first]


async def test_the_next_key_is_shown_before_it_signs(sessions: Sessions) -> None:
    first = await signing_kid(sessions)
    await pass_time(sessions, SIGNS_FOR)

    await turn(sessions)
    await turn(sessions)

    assert len(await kids(sessions)) == 2
    assert await signing_kid(sessions) == first
    await pass_time(sessions, timedelta(minutes=11))
    assert await signing_kid(sessions) == (await kids(sessions))[1]


async def test_an_old_key_is_shown_until_its_last_token_is_out(sessions: Sessions) -> None:
    await signing_kid(sessions)
    await pass_time(sessions, SIGNS_FOR)
    await turn(sessions)

    await pass_time(sessions, timedelta(minutes=10) + LONGEST_TOKEN + timedelta(minutes=9))
    await turn(sessions)
    assert len(await kids(sessions)) == 2
    await pass_time(sessions, timedelta(minutes=2))
    await turn(sessions)

    assert await kids(sessions) == [await signing_kid(sessions)]


async def test_replicas_that_rotate_at_once_make_one_key(sessions: Sessions) -> None:
    await signing_kid(sessions)
    await pass_time(sessions, SIGNS_FOR)

    await asyncio.gather(*(turn(sessions) for _ in range(6)))

    assert len(await kids(sessions)) == 2


async def test_when_all_keys_were_removed_a_new_one_is_made(sessions: Sessions) -> None:
    first = await signing_kid(sessions)
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM signing_keys"))
    await turn(sessions)

    async with sessions.begin() as session:
        fresh = await read_keys(session)

    assert fresh.signing.kid != first
    assert await kids(sessions) == [fresh.signing.kid]


class Forger:
    """Somebody who knows what our tokens look like, and tries."""

    def __init__(self, genuine: str, published: dict[str, Any], own: Ed25519PrivateKey) -> None:
        self.claims = jwt.decode(genuine, options={"verify_signature": False})
        self.header = jwt.get_unverified_header(genuine)
        self.genuine = genuine
        self.published = published
        self.own = own

    def token(
        self, key: Any = None, algorithm: str = "EdDSA", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        said = {name: value for name, value in {**self.claims, **claims}.items() if value is not ...}
        return jwt.encode(said, key or self.own, algorithm=algorithm, headers={**self.header, **(header or {})})

    def none(self) -> str:
        head = {**self.header, "alg": "none"}
        return ".".join([*(_encoded(part) for part in (head, self.claims)), ""])

    def hs256(self) -> str:
        public = base64.urlsafe_b64decode(self.published["keys"][0]["x"] + "==")
        signing = f"{_encoded({**self.header, 'alg': 'HS256'})}.{_encoded(self.claims)}"
        import hashlib
        import hmac

        mac = hmac.new(public, signing.encode(), hashlib.sha256).digest()
        return f"{signing}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def tampered(self) -> str:
        head, _, signature = self.genuine.split(".")
        return f"{head}.{_encoded({**self.claims, 'sub': str(uuid4())})}.{signature}"


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.fixture
async def forger(auth: httpx.AsyncClient, ada) -> Forger:
    published = (await auth.get("/.well-known/jwks.json")).json()
    return Forger(ada.tokens["access_token"], published, Ed25519PrivateKey.generate())


@pytest.fixture
async def stolen(auth: httpx.AsyncClient, sessions: Sessions, ada) -> Ed25519PrivateKey:
    """The real private key: what remains to be refused is what the token says."""
    async with sessions() as session:
        return Ed25519PrivateKey.from_private_bytes((await session.scalars(select(SigningKeyRow.private_key))).one())


async def refused_with(auth: httpx.AsyncClient, authorization: str) -> str:
    answer = await auth.get("/api/auth/me", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    return answer.json()["code"]


async def test_forged_tokens_are_refused(auth: httpx.AsyncClient, forger: Forger) -> None:
    own_jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(forger.own.public_key()))
    pem = forger.own.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    forged = [
        forger.token(),
        forger.none(),
        forger.hs256(),
        forger.tampered(),
        forger.token(header={"kid": "unknown"}),
        forger.token(header={"kid": "../../../../dev/null"}),
        forger.token(header={"kid": "' OR 1=1 --"}),
        forger.token(header={"jwk": own_jwk}),
        forger.token(header={"jku": "http://127.0.0.1:1/jwks.json"}),
        forger.token(header={"x5u": "http://127.0.0.1:1/cert.pem"}),
        forger.token(header={"x5c": [base64.b64encode(pem).decode()]}),
        forger.token(header={"crit": ["exp"]}),
        forger.genuine[:-4] + "AAAA",
        forger.genuine.rsplit(".", 1)[0],
        forger.genuine + ".x",
        "." * 3,
    ]

    for token in forged:
        assert await refused_with(auth, f"Bearer {token}") == "auth.token_invalid"


async def test_tokens_that_say_the_wrong_things_are_refused(
    auth: httpx.AsyncClient, forger: Forger, stolen: Ed25519PrivateKey
) -> None:
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        *({name: ...} for name in ("iss", "aud", "sub", "iat", "exp", "jti")),
        {"iss": "someone"},
        {"aud": "another"},
        {"aud": ["docqa", "another"]},
        {"sub": "admin"},
        {"sub": ""},
        {"exp": "tomorrow"},
        {"exp": 10**30},
        {"iat": now + 600},
        {"nbf": now + 600},
        {"jti": "x"},
        {"email": ...},
    ]

    for claims in wrong:
        assert await refused_with(auth, f"Bearer {forger.token(stolen, **claims)}") == "auth.token_invalid", claims
    for header in ({"typ": "JWT"}, {"typ": ...}, {"crit": ["exp"]}, {"jku": "http://127.0.0.1:1"}):
        said = {name: value for name, value in {**forger.header, **header}.items() if value is not ...}
        token = jwt.encode(forger.claims, stolen, algorithm="EdDSA", headers={"typ": None, **said})
        assert await refused_with(auth, f"Bearer {token}") == "auth.token_invalid", header


@pytest.mark.parametrize(
    ("skew", "code"), [(-300, "auth.token_expired"), (-31, "auth.token_expired"), (-25, None), (25, None), (300, None)]
)
async def test_an_end_is_an_end_within_the_leeway(
    auth: httpx.AsyncClient, forger: Forger, stolen: Ed25519PrivateKey, skew: int, code: str | None
) -> None:
    now = int(time.time())
    token = forger.token(stolen, iat=now - 900, exp=now + skew)

    if code is None:
        assert (await auth.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200
    else:
        assert await refused_with(auth, f"Bearer {token}") == code


@pytest.mark.parametrize(("skew", "refused"), [(25, False), (300, True)])
async def test_a_token_from_the_future_is_refused_beyond_the_leeway(
    auth: httpx.AsyncClient, forger: Forger, stolen: Ed25519PrivateKey, skew: int, refused: bool
) -> None:
    now = int(time.time())
    token = forger.token(stolen, iat=now + skew, exp=now + skew + 900)

    answer = await auth.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == (401 if refused else 200)


MALFORMED = ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer dq_x", "dq_x", "Bearer " + "x" * 60_000]


@pytest.mark.parametrize("authorization", MALFORMED, ids=len)
async def test_malformed_credentials_are_refused(edge: httpx.AsyncClient, authorization: str) -> None:
    assert await refused_with(edge, authorization) == "auth.token_invalid"


async def test_two_credentials_are_refused(auth: httpx.AsyncClient, ada) -> None:
    token = ada.headers["Authorization"]

    answer = await auth.get("/api/auth/me", headers=[("Authorization", token), ("Authorization", token)])

    assert answer.status_code == 401


async def test_no_credential_is_refused(edge: httpx.AsyncClient) -> None:
    assert (await edge.get("/api/auth/me")).json()["code"] == "auth.token_invalid"

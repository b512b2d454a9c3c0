"""Whose token it is: only ours, only fresh, whatever its header asks for."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from chassis import identity, remote_keys
from chassis.http import HttpClient
from chassis.identity import CallerDep, TokenVerifier
from chassis.problems import ProblemError
from chassis.remote_keys import RemoteKeys, parse_jwks
from chassis.settings import ServiceSettings
from chassis.web import create_app
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter

from tests.stubs.http import HttpStub, Reply, Request
from tests.stubs.keys import GivenKeys

USER = UUID("019a1111-2222-7333-8444-555566667777")
KEY = Ed25519PrivateKey.generate()
OTHER_KEY = Ed25519PrivateKey.generate()


def jwk_of(key: Ed25519PrivateKey, kid: str) -> dict[str, Any]:
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": kid, "alg": "EdDSA", "use": "sig"}


JWKS = json.dumps({"keys": [jwk_of(KEY, "k1")]})


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": "docqa",
        "aud": "docqa",
        "sub": str(USER),
        "iat": now,
        "exp": now + 900,
        "jti": str(uuid4()),
        "email": "ada@example.com",
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def token(key: Any = KEY, algorithm: str = "EdDSA", headers: dict[str, Any] | None = None, **changed: Any) -> str:
    header = {"typ": "at+jwt", "kid": "k1", **(headers or {})}
    return jwt.encode(claims(**changed), key, algorithm=algorithm, headers=header)


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def verifier() -> TokenVerifier:
    return TokenVerifier(GivenKeys(parse_jwks(JWKS)))


async def refused(verifier: TokenVerifier, given: str) -> ProblemError:
    with pytest.raises(ProblemError) as raised:
        await verifier.verify(given)
    assert raised.value.status == 401
    assert raised.value.headers["WWW-Authenticate"].startswith("Bearer")
    return raised.value


async def test_a_good_token_tells_who_is_calling(verifier: TokenVerifier) -> None:
    given = token()

    caller = await verifier.verify(given)

    assert (caller.user_id, caller.email, caller.token) == (USER, "ada@example.com", given)
    assert caller.expires_at.timestamp() == pytest.approx(time.time() + 900, abs=5)
    assert given not in repr(caller)


@pytest.mark.parametrize("seconds", [-25, 0])
async def test_a_token_is_good_within_the_leeway(verifier: TokenVerifier, seconds: int) -> None:
    now = int(time.time())

    assert await verifier.verify(token(exp=now + seconds, iat=now - 900))
    assert await verifier.verify(token(iat=now - seconds))


async def test_an_expired_token_asks_for_a_refresh(verifier: TokenVerifier) -> None:
    now = int(time.time())

    assert (await refused(verifier, token(exp=now - 31))).code == "auth.token_expired"
    assert (await refused(verifier, token(exp=now - 300))).code == "auth.token_expired"


async def test_a_token_that_was_good_expires_like_any_other(verifier: TokenVerifier) -> None:
    given = token(exp=int(time.time()) - 28)
    assert await verifier.verify(given) is await verifier.verify(given)

    await asyncio.sleep(2.1)

    assert (await refused(verifier, given)).code == "auth.token_expired"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "evil"},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["docqa"]},
        {"aud": None},
        {"sub": None},
        {"sub": "not-a-uuid"},
        {"sub": 7},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 1e30},
        {"exp": 10**30},
        {"iat": None},
        {"iat": 10**12},
        {"iat": int(time.time()) + 3600},
        {"jti": None},
        {"jti": "x"},
        {"email": None},
        {"nbf": int(time.time()) + 3600},
    ],
)
async def test_wrong_claims_are_refused(verifier: TokenVerifier, changed: dict[str, Any]) -> None:
    assert (await refused(verifier, token(**changed))).code == "auth.token_invalid"


@pytest.mark.parametrize(
    "headers",
    [
        {"typ": "JWT"},
        {"typ": "rt+jwt"},
        {"kid": "unknown"},
        {"kid": "../../etc/passwd"},
        {"kid": ""},
        {"kid": "x" * 65},
        {"crit": ["exp"]},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": jwk_of(OTHER_KEY, "k1")},
        {"b64": False},
    ],
)
async def test_headers_that_ask_for_something_are_refused(verifier: TokenVerifier, headers: dict[str, Any]) -> None:
    assert (await refused(verifier, token(headers=headers))).code == "auth.token_invalid"


async def test_a_foreign_key_does_not_become_ours_by_its_name(verifier: TokenVerifier) -> None:
    assert (await refused(verifier, token(key=OTHER_KEY))).code == "auth.token_invalid"


async def test_no_other_algorithm_is_accepted(verifier: TokenVerifier) -> None:
    import hashlib
    import hmac

    header, body = b64({"alg": "none", "typ": "at+jwt", "kid": "k1"}), b64(claims())
    assert (await refused(verifier, f"{header}.{body}.")).code == "auth.token_invalid"

    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = b64({"alg": "HS256", "typ": "at+jwt", "kid": "k1"})
    mac = hmac.new(public, f"{header}.{body}".encode(), hashlib.sha256).digest()
    assert (await refused(verifier, f"{header}.{body}.{b64(mac)}")).code == "auth.token_invalid"


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        "\ud800",
        "x" * 1_000_000,
        f"{b64([])}.{b64({})}.",
        f"{b64('alg')}.{b64({})}.",
        f"{b64(b'{' * 3000)}.{b64({})}.",
        f"{b64(b'[' * 2900)}.{b64({})}.",
        f"{b64({'alg': 'EdDSA', 'typ': 'at+jwt', 'kid': ['k1']})}.{b64({})}.x",
        f"{b64({'alg': 'EdDSA', 'typ': 'at+jwt', 'kid': 'k1'})}.{b64([1])}.{b64(b'x' * 64)}",
    ],
)
async def test_rubbish_is_refused_like_any_bad_token(verifier: TokenVerifier, given: str) -> None:
    problem = await refused(verifier, given)

    assert problem.code == "auth.token_invalid"


def test_keys_of_other_kinds_are_left_out() -> None:
    keys = [jwk_of(KEY, "k1"), {"kty": "oct", "k": "AAAA", "kid": "k2"}, {"kty": "OKP"}, "nonsense", {}, None]

    assert set(parse_jwks(json.dumps({"keys": keys}))) == {"k1"}
    for rubbish in ("[]", "{}", '{"keys": {}}', "no json"):
        with pytest.raises(ValueError, match=r"JWKS|Expecting"):
            parse_jwks(rubbish)


class Auth:
    """Auth's key endpoint: what it serves can be changed, and it counts."""

    def __init__(self) -> None:
        self.body, self.status, self.asked, self.hangs = JWKS, 200, 0, False
        self._stub = HttpStub(self._answer)
        self.url = self._stub.url
        self.close = self._stub.close

    async def _answer(self, request: Request, reply: Reply) -> None:
        assert request.path == "/.well-known/jwks.json"
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.status == 0:
            reply.broken = True
        else:
            await reply.send(self.status, self.body.encode(), kind="application/json")


@pytest.fixture
def auth() -> Iterator[Auth]:
    auth = Auth()
    yield auth
    auth.close()


@pytest.fixture
async def remote(auth: Auth) -> AsyncIterator[TokenVerifier]:
    http = HttpClient(auth.url, silence=5)
    yield TokenVerifier(RemoteKeys(http, auth.url))
    await http.close()


async def test_the_keys_are_fetched_once_and_kept_while_auth_is_away(auth: Auth, remote: TokenVerifier) -> None:
    await remote.verify(token())
    auth.status = 0
    await remote.verify(token())

    assert auth.asked == 1


async def test_a_new_key_is_found_and_made_up_ones_do_not_become_a_load(
    auth: Auth, remote: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remote.verify(token())
    auth.body = json.dumps({"keys": [jwk_of(KEY, "k1"), jwk_of(OTHER_KEY, "k2")]})
    for _ in range(20):
        await refused(remote, token(headers={"kid": "made-up"}))
    assert auth.asked == 1

    monkeypatch.setattr(remote_keys, "KEYS_PAUSE", 0.0)
    assert await remote.verify(token(key=OTHER_KEY, headers={"kid": "k2"}))
    assert auth.asked == 2


async def test_a_withdrawn_key_is_forgotten(auth: Auth, remote: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    known = token()
    await remote.verify(known)
    auth.body = json.dumps({"keys": [jwk_of(OTHER_KEY, "k2")]})
    monkeypatch.setattr(remote_keys, "KEYS_AGE", 0.0)
    monkeypatch.setattr(remote_keys, "KEYS_PAUSE", 0.0)

    async with asyncio.timeout(5):
        while await is_accepted(remote, token()):  # noqa: ASYNC110 - nothing tells of it but the answer
            await asyncio.sleep(0.01)  # the keys are fetched beside the requests
    assert not await is_accepted(remote, known)


async def test_no_more_tokens_are_remembered_than_there_is_room_for(
    verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "REMEMBERED", 2)
    first, *others = [token() for _ in range(3)]
    caller = await verifier.verify(first)
    for given in others:
        await verifier.verify(given)

    assert await verifier.verify(first) is not caller
    assert await verifier.verify(others[-1]) is await verifier.verify(others[-1])


async def is_accepted(verifier: TokenVerifier, given: str) -> bool:
    try:
        await verifier.verify(given)
    except ProblemError as problem:
        return problem.status != 401
    return True


async def test_nobody_with_a_good_token_waits_while_auth_hangs(
    auth: Auth, remote: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remote.verify(token())
    monkeypatch.setattr(remote_keys, "KEYS_AGE", 0.0)
    monkeypatch.setattr(remote_keys, "KEYS_PAUSE", 0.0)
    auth.hangs = True

    async with asyncio.timeout(2):
        for _ in range(10):
            await remote.verify(token())


async def test_while_auth_hangs_all_who_need_its_keys_wait_for_one_fetch(
    auth: Auth, remote: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_keys, "KEYS_SECONDS", 0.2)
    monkeypatch.setattr(remote_keys, "KEYS_PAUSE", 0.2)
    auth.hangs = True

    refusals = await asyncio.gather(*(remote.verify(token()) for _ in range(10)), return_exceptions=True)

    assert [getattr(refusal, "status", None) for refusal in refusals] == [503] * 10
    assert auth.asked == 1


async def test_after_a_fetch_that_took_long_auth_is_left_alone_for_a_while(
    auth: Auth, remote: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_keys, "KEYS_SECONDS", 0.5)
    monkeypatch.setattr(remote_keys, "KEYS_PAUSE", 0.5)
    auth.hangs = True

    for _ in range(2):
        with pytest.raises(ProblemError):
            await remote.verify(token())

    assert auth.asked == 1


async def test_a_caller_that_leaves_takes_the_fetch_from_nobody(auth: Auth, remote: TokenVerifier) -> None:
    leaving, staying = (asyncio.create_task(remote.verify(token())) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()

    assert (await staying).user_id == USER
    assert auth.asked == 1


@pytest.mark.parametrize(("status", "body"), [(0, ""), (500, ""), (200, "<html>"), (200, '{"keys": []}')])
async def test_without_any_keys_it_is_not_the_tokens_fault(
    auth: Auth, remote: TokenVerifier, status: int, body: str
) -> None:
    auth.status, auth.body = status, body

    with pytest.raises(ProblemError) as raised:
        await remote.verify(token())

    assert (raised.value.status, raised.value.code) == (503, "service.unavailable")
    assert raised.value.headers["Retry-After"]


router = APIRouter()


@router.get("/me")
async def me(caller: CallerDep) -> dict[str, str]:
    return {"user": str(caller.user_id)}


@pytest.fixture
def client(
    settings: ServiceSettings, verifier: TokenVerifier, client_of: Callable[..., httpx.AsyncClient]
) -> httpx.AsyncClient:
    app = create_app(settings, routers=[router])
    app.state.verifier = verifier
    return client_of(app)


async def test_a_route_gets_its_caller(client: httpx.AsyncClient) -> None:
    for scheme in ("Bearer", "bearer", "BEARER "):
        answer = await client.get("/me", headers={"Authorization": f"{scheme} {token()}"})
        assert answer.json() == {"user": str(USER)}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Basic YTpi")],
        [("Authorization", "Bearer a b")],
        [("Authorization", "Bearer x"), ("Authorization", "Bearer y")],
        [("Authorization", b"Bearer \xff\xfe")],
    ],
)
async def test_missing_malformed_and_double_credentials_are_401(
    client: httpx.AsyncClient, headers: list[tuple[str, str]]
) -> None:
    answer = await client.get("/me", headers=headers)

    assert answer.status_code == 401
    assert answer.json()["code"] == "auth.token_invalid"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="docqa"')

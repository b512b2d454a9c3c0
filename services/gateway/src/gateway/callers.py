"""Who is calling the front door: a token, or an API key that stands for one; and whether the account is still open."""

from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Protocol
from uuid import UUID

from cachetools import TTLCache
from chassis.http import NO_ANSWER, HttpClient
from chassis.identity import Caller, Verifier, bearer, token_invalid
from chassis.problems import ProblemError, unavailable
from chassis.transactions import Transactions
from contracts.internal import ExchangedToken
from contracts.tokens import KEY_PREFIX
from fastapi import Depends, Request
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from pydantic import ValidationError
from pydantic_core import to_json

from gateway import owners

_JSON = {"content-type": "application/json"}
LONGEST_KEY = 1024
REMEMBERED = 10_000  # keys; about 10 MB at worst
EARLY = 10.0
"""Seconds by which a token is given up before its end: the services behind look at it a moment later."""


class Exchange(Protocol):
    """Turns an API key into a short-lived access token."""

    async def token(self, key: str) -> str: ...

    def forget(self, owner: UUID) -> None: ...


class KeyExchange:
    """Asks auth, and remembers for as long as the token lives.

    A deleted key is out at once at the gateway that deleted it, and works for at most a minute more at others.
    """

    def __init__(self, *, http: HttpClient, auth_url: str, verifier: Verifier) -> None:
        self._http = http
        self._url = f"{auth_url}/internal/keys/exchange"
        self._verifier = verifier
        self._holders: TTLCache[bytes, Caller] = TTLCache(maxsize=REMEMBERED, ttl=60 - EARLY)
        self._forgotten = 0

    async def token(self, key: str) -> str:
        """401 if it is no key, or not any more; 503 if auth is away."""
        digest = sha256(key.encode()).digest()
        if (known := self._holders.get(digest)) is not None:
            return known.token
        forgotten = self._forgotten
        exchanged = await self._ask(key)
        holder = await self._verifier.verify(exchanged.access_token)
        if exchanged.expires_in >= 60 and forgotten == self._forgotten:  # a key may be deleted while we ask
            self._holders[digest] = holder
        return holder.token

    def forget(self, owner: UUID) -> None:
        """Ask again for every key of this owner: one of them was deleted."""
        self._forgotten += 1
        for digest in list(self._holders):
            holder = self._holders.get(digest)
            if holder is not None and holder.user_id == owner:
                self._holders.pop(digest, None)

    async def _ask(self, key: str) -> ExchangedToken:
        if len(key) > LONGEST_KEY:
            raise _no_key()
        asked = to_json({"key": key})
        try:
            status, answer = await self._http.read("POST", self._url, headers=_JSON, body=asked, within=5.0)
            if status in (401, 404, 422):
                raise _no_key()
            if status == HTTPStatus.OK:
                return ExchangedToken.model_validate_json(answer)
        except (*NO_ANSWER, ValidationError):
            pass
        raise unavailable("API keys cannot be verified at the moment. Try again shortly.")


class Callers:
    """Finds the caller of a request."""

    def __init__(self, *, verifier: Verifier, keys: Exchange, transactions: Transactions) -> None:
        self._verifier = verifier
        self._keys = keys
        self._transactions = transactions

    async def verified(self, request: Request) -> Caller:
        """The caller by token alone; whoever uses it must see to closed accounts itself."""
        credential = bearer(request)
        if credential.startswith(KEY_PREFIX):
            credential = await self._keys.token(credential)
        return await self._verifier.verify(credential)

    async def open(self, request: Request) -> Caller:
        """The same, if the account is open."""
        caller = await self.verified(request)
        async with self._transactions.driver() as driver:
            await owners.refuse_closed(driver, caller.user_id)
        return caller

    def forget_keys(self, owner: UUID) -> None:
        """Believe no key of this owner that auth was not asked about since."""
        self._keys.forget(owner)


def callers_of(request: Request) -> Callers:
    callers: Callers = request.app.state.callers
    return callers


# Both only describe: how a caller is found is said above.
_password = OAuth2PasswordBearer(tokenUrl="/api/auth/token", scheme_name="Login", auto_error=False)
_token = HTTPBearer(scheme_name="TokenOrApiKey", bearerFormat="JWT or dq_…", auto_error=False)

SECURITY = [Depends(_password), Depends(_token)]


async def open_caller(request: Request) -> Caller:
    return await callers_of(request).open(request)


async def verified_caller(request: Request) -> Caller:
    return await callers_of(request).verified(request)


CallerDep = Annotated[Caller, Depends(open_caller)]
"""Whose account is open. Bound before any body is read."""

VerifiedDep = Annotated[Caller, Depends(verified_caller)]
"""For routes whose own query looks whether the account is open."""


def _no_key() -> ProblemError:
    return token_invalid("The API key is not one of ours, or not any more.")

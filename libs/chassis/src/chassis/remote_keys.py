"""Auth's public keys, for the services that verify its tokens."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import jwt
from contracts.tokens import ALGORITHM

from chassis.http import NO_ANSWER, HttpClient
from chassis.problems import unavailable

KEYS_AGE = 600.0
"""Seconds after which the keys are fetched again even if all are known: a withdrawn key must go."""

KEYS_PAUSE = 5.0
"""Seconds from one fetch to the next: tokens with made-up key ids must not become a load on auth."""

KEYS_SECONDS = 5.0
"""How long a fetch may take."""


class RemoteKeys:
    """Auth's keys, kept, fetched again when an unknown one is named and when they are old."""

    def __init__(self, http: HttpClient, auth_url: str) -> None:
        self._url = f"{auth_url}/.well-known/jwks.json"
        self._http = http
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = -KEYS_AGE
        self._ended_at = -KEYS_PAUSE
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """The key with that id; 503 if none was ever fetched and auth is away."""
        if kid not in self._keys or self._are_old():
            self._begin()
        if kid not in self._keys and self._fetching is not None:
            # Only then: while auth hangs, nobody with a good token waits for it.
            await asyncio.shield(self._fetching)
        if not self._keys:
            raise unavailable("The keys that tokens are verified with cannot be fetched. Try again shortly.")
        return self._keys.get(kid)

    def _are_old(self) -> bool:
        return time.monotonic() - self._fetched_at > KEYS_AGE

    def _begin(self) -> None:
        """One fetch for everybody, and none so soon after the last one."""
        if self._fetching is None and time.monotonic() - self._ended_at >= KEYS_PAUSE:
            self._fetching = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            status, body = await self._http.read("GET", self._url, within=KEYS_SECONDS)
            if status == HTTPStatus.OK and (keys := parse_jwks(body)):
                self._keys, self._fetched_at = keys, time.monotonic()
        except (*NO_ANSWER, ValueError):
            pass  # what is known stays good, for as long as auth is away
        finally:
            self._ended_at, self._fetching = time.monotonic(), None


def parse_jwks(body: bytes | str) -> dict[str, jwt.PyJWK]:
    """The EdDSA keys of a JWKS document by their id; keys of other kinds are left out. ValueError if it is none."""
    document = json.loads(body)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWKS document")
    return dict(_signing_keys(document["keys"]))


def _signing_keys(entries: Sequence[Any]) -> list[tuple[str, jwt.PyJWK]]:
    keys = []
    for entry in entries:
        try:
            key = jwt.PyJWK(entry, algorithm=ALGORITHM)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue
        if entry.get("kty") == "OKP" and isinstance(key.key_id, str):
            keys.append((key.key_id, key))
    return keys

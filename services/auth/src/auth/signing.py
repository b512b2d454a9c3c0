"""The keys that sign access tokens: made in the database, so that all replicas have the same."""

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import jwt
from chassis.database import Sessions
from contracts.fields import Response
from contracts.tokens import ALGORITHM
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import DateTime, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from auth.tables import SigningKeyRow

_LOCK = 0x646F6371  # of the transactions that make keys, one at a time; any number that nobody else takes

_REMEMBERED_SECONDS = 30.0
"""How long a replica uses what it read: new keys are shown for much longer before they sign."""

SHOWN_BEFORE = timedelta(minutes=10)
"""How long a new key is shown before it signs, so that verifiers have it when they meet it."""

SHOWN_AFTER = timedelta(minutes=10)
"""How much longer than its last token a key is shown: for clocks that differ, and for replicas that remember it."""


class Jwk(Response):
    """A public key, RFC 8037."""

    kty: str = "OKP"
    crv: str = "Ed25519"
    use: str = "sig"
    alg: str = ALGORITHM
    kid: str
    x: str


class Jwks(Response):
    """`GET /.well-known/jwks.json`."""

    keys: list[Jwk]


@dataclass(frozen=True)
class SigningKey:
    """A key pair by its id, which is the RFC 7638 thumbprint of its public half."""

    kid: str
    private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        private = Ed25519PrivateKey.generate()
        return cls(kid=_thumbprint(private.public_key()), private=private)

    @classmethod
    def of(cls, row: SigningKeyRow) -> "SigningKey":
        return cls(kid=row.kid, private=Ed25519PrivateKey.from_private_bytes(row.private_key))

    def row(self, active_from: datetime) -> SigningKeyRow:
        return SigningKeyRow(kid=self.kid, private_key=self.private.private_bytes_raw(), active_from=active_from)

    def jwk(self) -> Jwk:
        return Jwk(kid=self.kid, x=_base64url(self.private.public_key().public_bytes_raw()))


@dataclass(frozen=True)
class Keys:
    """All keys that are shown, and the one that signs."""

    signing: SigningKey
    shown: tuple[SigningKey, ...]

    def jwks(self) -> Jwks:
        return Jwks(keys=[key.jwk() for key in self.shown])


class KeyRing:
    """The keys as the database has them, read again every half minute. Verifies auth's own callers, too."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._keys: Keys | None = None
        self._verifying: dict[str, jwt.PyJWK] = {}
        self._read_at = 0.0

    async def keys(self) -> Keys:
        """What to sign with and what to show. The first key is made here, by one of the replicas that start at once."""
        if self._keys is None or time.monotonic() - self._read_at > _REMEMBERED_SECONDS:
            async with self._sessions.begin() as session:
                self._keys = await read_keys(session)
            self._verifying = {key.kid: jwt.PyJWK(key.jwk().model_dump()) for key in self._keys.shown}
            self._read_at = time.monotonic()
        return self._keys

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """The public key with that id."""
        await self.keys()
        return self._verifying.get(kid)


async def read_keys(session: AsyncSession) -> Keys:
    """The keys as they stand, the newest that is active signs; if none is, one is made."""
    rows = await _rows(session)
    active = await _active(session, rows)
    if active is None:
        await _lock(session)
        rows = await _rows(session)
        active = await _active(session, rows)
    if active is None:
        active = SigningKey.generate().row(active_from=await _now(session))
        session.add(active)
        rows = [*rows, active]
    return Keys(signing=SigningKey.of(active), shown=tuple(SigningKey.of(row) for row in rows))


async def rotate(session: AsyncSession, *, signs_for: timedelta, longest_token: timedelta) -> None:
    """Make the next key when the newest has signed long enough, and forget those whose last token is out."""
    await _lock(session)
    present = await _now(session)
    rows = await _rows(session)
    if rows and rows[-1].active_from + signs_for <= present + SHOWN_BEFORE:
        session.add(SigningKey.generate().row(active_from=present + SHOWN_BEFORE))
    over = [
        row.kid for row, successor in pairwise(rows) if successor.active_from + longest_token + SHOWN_AFTER < present
    ]
    await session.execute(delete(SigningKeyRow).where(SigningKeyRow.kid.in_(over)))


async def _rows(session: AsyncSession) -> list[SigningKeyRow]:
    return list(await session.scalars(select(SigningKeyRow).order_by(SigningKeyRow.active_from)))


async def _active(session: AsyncSession, rows: list[SigningKeyRow]) -> SigningKeyRow | None:
    present = await _now(session)
    return next((row for row in reversed(rows) if row.active_from <= present), None)


async def _lock(session: AsyncSession) -> None:
    await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def _now(session: AsyncSession) -> datetime:
    # Not the start of the transaction: it may have waited for the one that made the first key.
    moment: datetime = (await session.execute(select(func.clock_timestamp(type_=DateTime(timezone=True))))).scalar_one()
    return moment


def _thumbprint(public: Ed25519PublicKey) -> str:
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public.public_bytes_raw())}
    return _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

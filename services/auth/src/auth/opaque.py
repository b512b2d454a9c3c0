"""Credentials that mean nothing by themselves: random text, of which only the digest is kept."""

import hashlib
import secrets

from contracts.tokens import KEY_PREFIX

_RANDOM_BYTES = 32

SHOWN_CHARACTERS = len(KEY_PREFIX) + 6
"""How much of an API key its list shows: enough to tell two apart, too little to guess the rest."""


def new_refresh_token() -> str:
    return secrets.token_urlsafe(_RANDOM_BYTES)


def new_api_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(credential: str) -> bytes:
    """What is kept of it. The credential holds 256 random bits, so a plain hash is as good as a slow one."""
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()

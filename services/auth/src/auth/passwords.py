"""Passwords: which are taken, and how they are kept."""

import asyncio
import os
import sys
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from contracts.fields import visible
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

T = TypeVar("T")

# OWASP's first choice for argon2id: 20.6 ms on the machine that this was measured on.
_MEMORY_KIB = 19 * 1024
_TIME_COST = 2
_PARALLELISM = 1

# Hashes of nothing that anybody can send: comparing with it takes as long as comparing with a real one.
_NOBODY = "\x00nobody"

_SECONDS_A_HASH = 0.025
"""A little more than one takes: how long the queue is, in time."""

_NICENESS = 10
"""Of the threads that hash, on Linux: with the usual one the event loop waited 30 ms for its turn, now 13 ms."""


class HashingBusy(Exception):
    """More passwords wait to be compared than can be within a reasonable time."""

    def __init__(self, waiting: int, threads: int) -> None:
        super().__init__("Too many people are logging in at this moment. Try again shortly.")
        self.retry_after = waiting * _SECONDS_A_HASH / threads


@dataclass(frozen=True)
class Comparison:
    """Whether a password was right, and its hash anew if it was kept at an older setting."""

    right: bool
    fresh_hash: str | None = None


def acceptable(password: str) -> str:
    """The password itself. Raises ValueError for one that cannot be typed, or is blank; its length is judged before."""
    if not password.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in password):
        raise ValueError("must not contain control characters")
    if not visible(password):
        raise ValueError("must not be blank")
    return password


class Passwords:
    """Hashes passwords beside the event loop, which goes first: `threads` at a time, and at most `waiting` in all."""

    def __init__(self, *, threads: int, waiting: int) -> None:
        self._hasher = PasswordHash(
            (Argon2Hasher(time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=_PARALLELISM),)
        )
        self._threads = threads
        self._most_waiting = waiting
        self._waiting = 0
        self._signing_up = 0
        self._one_signs_up = asyncio.Semaphore(1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords", initializer=_let_others_first)
        self._nobody = self._hasher.hash(_NOBODY)

    async def hash(self, password: str) -> str:
        """A new hash of the password. Raises `HashingBusy`.

        One at a time: however many sign up, whoever logs in waits for one of them.
        """
        if self._signing_up >= self._most_waiting:
            raise HashingBusy(self._signing_up, threads=1)
        self._signing_up += 1
        try:
            async with self._one_signs_up:
                return await self._in_thread(lambda: self._hasher.hash(_composed(password)))
        finally:
            self._signing_up -= 1

    async def compare(self, password: str, kept: str | None) -> Comparison:
        """Compare with what is kept; None, for somebody unknown, takes as long and is wrong. Raises `HashingBusy`."""
        return await self._in_thread(lambda: self._compare(password, kept))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compare(self, password: str, kept: str | None) -> Comparison:
        right, fresh = self._hasher.verify_and_update(_composed(password), kept or self._nobody)
        return Comparison(right=right and kept is not None, fresh_hash=fresh if kept is not None else None)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most_waiting:
            raise HashingBusy(self._waiting, self._threads)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def _let_others_first() -> None:
    if sys.platform == "linux":  # elsewhere it would be the whole process that steps back
        os.nice(_NICENESS)


def _composed(password: str) -> bytes:
    # NIST SP 800-63B: keyboards differ in how they compose the same character. Half of one is wrong like any other.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")

"""A login's one irreducible step: comparing a password with its argon2id hash, at OWASP's setting."""

from time import perf_counter

from argon2 import PasswordHasher

from benchmarks.people import PASSWORD

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_KEPT = _HASHER.hash(PASSWORD)


def compares() -> float:
    """Seconds for one."""
    began = perf_counter()
    _HASHER.verify(_KEPT, PASSWORD)
    return perf_counter() - began

"""Vectors that mean something, without a model: texts that share words lie close together."""

from functools import lru_cache
from hashlib import blake2b
from re import findall

import numpy as np
from numpy.typing import NDArray

_STOP = frozenset(
    """a an and are at by do does for how in is it its of on or the to was what when where which who with
    """.split()  # noqa: SIM905  # reads better as a text
)


def vector_of(text: str, dimension: int) -> NDArray[np.float32]:
    """A signed bag of hashed words, of length 1; never zero."""
    vector = np.zeros(dimension, np.float32)
    for word in [word for word in findall(r"\w+", text.lower()) if word not in _STOP] or ["nothing"]:
        place, sign = _place(word, dimension)
        vector[place] += sign
    length = float(np.linalg.norm(vector))
    if not length:
        vector[0] = length = 1.0
    return vector / np.float32(length)


@lru_cache(maxsize=100_000)
def _place(word: str, dimension: int) -> tuple[int, int]:
    digest = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
    return (digest >> 1) % dimension, 1 if digest & 1 else -1

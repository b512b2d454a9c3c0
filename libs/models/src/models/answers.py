"""Whether what a provider sent really is one vector per text."""

from collections.abc import Sequence

import numpy as np
from chassis.failures import Misconfigured
from numpy.typing import NDArray

from models.calls import Vector
from models.failures import MISCONFIGURED, bad_answer


def checked_vectors(answer: Sequence[Vector], *, count: int, dimension: int) -> NDArray[np.float32]:
    """The answer as rows of length 1.

    A wrong dimension is a configuration failure: no retry will mend it, and it must never reach the index.
    Anything else that is wrong may have been an accident.
    """
    if len(answer) != count:
        raise bad_answer(f"{len(answer)} vectors for {count} texts")
    try:
        vectors = np.asarray(answer)
    except (TypeError, ValueError) as error:
        raise bad_answer("vectors that are none") from error
    if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind not in "fiu":
        raise bad_answer("vectors that are none")
    vectors = vectors.astype(np.float32, copy=False)
    if vectors.shape[1] != dimension:
        raise Misconfigured(
            MISCONFIGURED, f"The embedding model gives {vectors.shape[1]} numbers a vector, {dimension} are expected."
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise bad_answer("vectors with numbers that are none")
    return np.asarray(vectors / lengths, np.float32)

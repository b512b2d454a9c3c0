"""What a provider sends is not believed."""

import numpy as np
import pytest
from chassis.failures import Misconfigured, Transient
from models.answers import checked_vectors


def test_vectors_are_made_of_length_one() -> None:
    assert checked_vectors([[3, 4], [0, 2]], count=2, dimension=2) == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))


@pytest.mark.parametrize(
    "answer", [[[1.0, 2.0], [1.0]], [["a", "b"], ["c", "d"]], [1.0, 2.0], [[0.0, 0.0], [1.0, 0.0]]]
)
def test_what_is_no_vector_is_a_bad_answer(answer: list[list[float]]) -> None:
    with pytest.raises(Transient, match="bad answer"):
        checked_vectors(answer, count=2, dimension=2)


def test_a_wrong_dimension_is_a_matter_of_configuration() -> None:
    with pytest.raises(Misconfigured, match="3 numbers a vector, 2 are expected"):
        checked_vectors([[1, 2, 3]], count=1, dimension=2)

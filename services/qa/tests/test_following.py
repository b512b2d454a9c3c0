import pytest
from qa.following import joined, leans_on_previous


@pytest.mark.parametrize(
    "question",
    [
        "And in 2023?",
        "What about the second quarter?",
        "How fast does it run?",
        "Who signed them?",
        "Why?",
        "Und wie schnell ist sie?",
        "How much?",
    ],
)
def test_a_question_that_points_back_leans_on_its_predecessor(question: str) -> None:
    assert leans_on_previous(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Mongolia?",
        "When does the warranty of the Kestrel pump end?",
        "Who won in 1998 in Paris?",
    ],
)
def test_a_question_that_stands_alone_does_not(question: str) -> None:
    assert not leans_on_previous(question)


def test_both_questions_are_searched_as_one() -> None:
    assert joined("How fast is the pump?", "And the valve?") == "How fast is the pump?\nAnd the valve?"

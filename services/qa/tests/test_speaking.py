import pytest
from qa.prompting import NOT_IN_DOCUMENTS
from qa.speaking import Speech


def spoken(*pieces: str, sources: int = 3) -> tuple[list[str], Speech]:
    speech = Speech(sources)
    shown = [speech.say(piece) for piece in pieces]
    return [piece for piece in [*shown, speech.finish()] if piece], speech


@pytest.mark.parametrize(
    "said",
    [
        NOT_IN_DOCUMENTS,
        f" {NOT_IN_DOCUMENTS}.\n",
        f"**{NOT_IN_DOCUMENTS}**",
        f"`{NOT_IN_DOCUMENTS}`",
        f"{NOT_IN_DOCUMENTS}\n\nThe documents are about pumps and do not say who won the world cup.",
        f"**{NOT_IN_DOCUMENTS}**: nothing of it stands in them [9].",
    ],
)
def test_a_refusal_is_never_shown(said: str) -> None:
    for size in (1, 4, 100):
        shown, speech = spoken(*(said[at : at + size] for at in range(0, len(said), size)))
        assert (shown, speech.text) == ([], "")


def test_an_answer_is_shown_from_its_first_piece() -> None:
    shown, speech = spoken("The pump", " runs [1", "].")
    assert shown[:2] == ["The pump", " runs"]
    assert speech.text == "The pump runs [1]."
    assert speech.cited == {1}


def test_what_only_begins_like_a_refusal_is_shown() -> None:
    assert spoken("NOT_IN", "_THE_MOOD")[1].text == "NOT_IN_THE_MOOD"
    assert spoken("NOT")[1].text == "NOT"
    assert spoken(f"{NOT_IN_DOCUMENTS} but elsewhere [1].")[1].text == f"{NOT_IN_DOCUMENTS} but elsewhere [1]."


def test_nothing_said_is_nothing_shown() -> None:
    assert spoken()[1].text == ""

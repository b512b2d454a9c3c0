"""What a question asks for is found however the document spells it."""

from typing import Any
from unicodedata import normalize

import pytest
from qa.function_words import without_function_words
from qa.spelling import as_searched


@pytest.mark.parametrize(
    ("question", "searched"),
    [
        ("sales of 2,318 units", "sales of 2318 units"),
        ("1.234.567 and 12'500 and 2\u202f318", "1234567 and 12500 and 2318"),
        ("page 12, 300 lines, 1,23 or 0,500 or 2,3180", "page 12, 300 lines, 1,23 or 0,500 or 2,3180"),
        ("192.168.17.42 and v2.318 and 2,318.50", "192.168.17.42 and v2.318 and 2,318.50"),
        ("the year 2,024", "the year 2,024"),
        (normalize("NFD", "Löwenfürst"), "Löwenfürst"),
    ],
)
def test_numbers_are_searched_in_one_piece_and_letters_composed(question: str, searched: str) -> None:
    assert as_searched(question) == searched


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("error 4713", "See error ERR-4713: the clock is wrong."),
        ("-4713", "Chapter 4713"),
        ("XK4711", "Part XK-4711 needs 40 Nm."),
        ("torque of xk4711", "Part XK 4711 needs 40 Nm."),
        ("version 2.4.0", "Console of version: v2.4.0"),
        ("v2.4.0", "2.4.0 was a release"),
        ("2318", "Eastfold sold 2,318 chairs."),
        ("2318", "Eastfold verkaufte 2.318 Stühle."),
        ("2318", "Eastfold a vendu 2\u202f318 chaises."),
        ("2,318", "Eastfold sold 2318 chairs."),
        ("2.318", "A factor of 2.318 was used."),
        ("2,024 chairs", "2,024 chairs were sold."),
        ("Löwenfürst", normalize("NFD", "Frau Löwenfürst wohnt hier.")),
        (normalize("NFD", "Löwenfürst"), "Frau Löwenfürst wohnt hier."),
        ("Besançon", "The office in Besancon is closed."),
        ("O'Brien \\ %", "O'Brien lives here."),
    ],
)
async def test_a_word_is_found_in_each_of_its_spellings(service: Any, ada: Any, question: str, text: str) -> None:
    await service.add(ada.id, "Nothing of the kind stands here.", text)
    service.embeddings.evidence_floor = 1.1  # full text alone
    sources = (await ada.answer(question))["sources"]
    assert [source["text"] for source in sources] == [text]


async def test_a_number_is_not_found_in_parts_that_stand_apart(service: Any, ada: Any) -> None:
    await service.add(ada.id, "Of 318 chairs 2 were sold.", "Room 23 has 18 chairs.")
    service.embeddings.evidence_floor = 1.1
    assert (await ada.answer("2318"))["answered"] is False


@pytest.mark.parametrize(
    "question",
    [
        "Quelle est la capitale du Japon ?",
        "Wer hat den Faust geschrieben?",
        "¿Cuál es la capital del Japón?",
        "Gdzie jest stolica Japonii?",
    ],
)
async def test_the_words_that_hold_a_question_together_are_no_evidence_in_any_language(
    service: Any, ada: Any, question: str
) -> None:
    await service.add(
        ada.id,
        "Le siège est à Besançon, près de la citadelle du roi. Quelle ville !",
        "Wer den Brief hat, der hat auch den Schlüssel.",
        "¿Cuál es la llave del archivo?",
        "Gdzie jest klucz?",
    )
    service.embeddings.evidence_floor = 1.1
    assert (await ada.answer(question))["answered"] is False


def test_names_that_another_language_has_as_words_stay_in_an_english_question() -> None:
    for question in ("What is the EIN of the UN in LA?", "What did MIT die for?", "MIT", "Des Moines"):
        assert without_function_words(question) == question
    assert without_function_words("Wo liegt der Schlüssel für das Haus?").split() == ["liegt", "Schlüssel", "Haus?"]

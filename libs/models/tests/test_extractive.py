"""Answers in the documents' own words."""

import pytest
from models.chat import ChatModel, Delta, open_chat
from models.embeddings import Embeddings, open_embeddings
from models.extractive import PREFACE, Extractive
from models.settings import ModelSettings

PASSAGES = [
    "Net income was 4 million. Revenue in 2023 was $12.4\nmillion, up 8%. The board met twice.",
    "The company was founded in 1988 in Oslo. Dr. Amara Okafor leads the team that studies glacier melt.",
]


@pytest.fixture(scope="module")
def local() -> Embeddings:
    return open_embeddings(ModelSettings())


async def ask(model: ChatModel, question: str, passages: list[str] | None = None) -> str:
    pieces = model.stream([], question=question, passages=PASSAGES if passages is None else passages)
    return "".join([piece.text async for piece in pieces if isinstance(piece, Delta)])


async def test_it_quotes_the_supporting_sentence_cites_it_and_says_that_it_does_so() -> None:
    answer = await ask(Extractive(None), "What was the revenue in 2023?")
    assert answer.startswith(PREFACE)
    assert "“Revenue in 2023 was $12.4 million, up 8%.” [1]" in answer
    assert "board" not in answer


async def test_a_title_does_not_end_a_sentence() -> None:
    answer = await ask(Extractive(None), "Who studies glacier melt?")
    assert "“Dr. Amara Okafor leads the team that studies glacier melt.” [2]" in answer


async def test_with_the_local_model_it_finds_what_is_said_in_other_words(local: Embeddings) -> None:
    answer = await ask(open_chat(ModelSettings(), local), "Who is in charge of the research about ice?")
    assert "“Dr. Amara Okafor leads the team that studies glacier melt.” [2]" in answer


async def test_a_sentence_that_stands_in_two_passages_is_quoted_once() -> None:
    answer = await ask(
        Extractive(None), "Where is the beetle?", ["The beetle is green. It is here.", "The beetle is green."]
    )
    assert answer.count("The beetle is green.") == 1
    assert "[1]" in answer


async def test_a_sentence_is_quoted_whole_where_the_best_passage_has_only_its_end() -> None:
    passages = ["were employed by the circus. It has no tents.", "In 2019 its 309 people were employed by the circus."]
    answer = await ask(Extractive(None), "Who is employed by the circus?", passages)
    assert "“In 2019 its 309 people were employed by the circus.” [2]" in answer
    assert "“were employed" not in answer
    assert "“were employed by the circus.” [1]" in await ask(Extractive(None), "employed", passages[:1])


async def test_a_passage_of_headings_is_quoted_for_want_of_sentences() -> None:
    assert "“Revenue 2023” [1]" in await ask(Extractive(None), "revenue", ["Revenue 2023"])


async def test_a_table_is_not_quoted_to_its_end() -> None:
    answer = await ask(Extractive(None), "what is in row one", ["row one " + "1234 " * 400])
    assert len(answer) < 600
    assert "…” [1]" in answer


async def test_without_passages_there_is_nothing_to_quote() -> None:
    assert await ask(Extractive(None), "Anything?", []) == PREFACE


async def test_a_documents_own_references_are_not_taken_for_ours() -> None:
    answer = await ask(
        Extractive(None), "Where does the beetle live?", ["The beetle lives in Peru [12, 14] as known [3]【1】."]
    )
    assert "“The beetle lives in Peru (12, 14) as known (3)(1).” [1]" in answer


GUIDE = """# Guide

### ERR-4711

The licence has expired. Renew it.

### ERR-4712

The disk is full.

| key | default |
|-----|---------|
| `idle` | 90s |
| `clients` | 250 |
"""


async def test_a_sentence_is_found_by_its_heading_too() -> None:
    answer = await ask(Extractive(None), "What does ERR-4712 mean?", [GUIDE])
    assert "“The disk is full.” [1]" in answer
    assert "licence" not in answer


async def test_of_a_markdown_table_the_row_is_quoted() -> None:
    answer = await ask(Extractive(None), "How many clients?", [GUIDE])
    assert "“| `clients` | 250 |” [1]" in answer
    assert "90s" not in answer


@pytest.mark.parametrize(
    "sentence",
    [
        "Der Vertrag wurde am 3. Juni 2023 nach § 12 Abs. 3 der Satzung geschlossen.",
        "Die Frist beträgt nach Art. 5 Nr. 7 ca. 20 Tage.",
    ],
)
async def test_german_dates_and_abbreviations_do_not_end_a_sentence(sentence: str) -> None:
    answer = await ask(Extractive(None), sentence, [f"Es war Mai. {sentence} Danach kam nichts."])
    assert f"“{sentence}” [1]" in answer

"""The measured floor still parts what answers from what does not."""

import pytest
from models.embeddings import Embeddings, open_embeddings
from models.settings import ModelSettings

from libs.models.tests.evidence.measure import facts, long_passages, measure


@pytest.fixture(scope="module")
def local() -> Embeddings:
    return open_embeddings(ModelSettings())


async def test_a_fact_standing_alone_is_evidence_and_idle_questions_rarely_find_any(local: Embeddings) -> None:
    measured = await measure(local, [fact for fact, _ in facts()])
    assert (measured.answering >= local.evidence_floor).all()
    assert (measured.best_of_none >= local.evidence_floor).mean() <= 0.1


async def test_a_fact_among_other_talk_is_mostly_evidence_and_idle_questions_find_none(local: Embeddings) -> None:
    measured = await measure(local, long_passages())
    assert (measured.answering >= local.evidence_floor).mean() >= 0.8
    assert not (measured.best_of_none >= local.evidence_floor).any()

"""Which model is meant, and what is refused before anything starts."""

import pytest
from chassis.failures import Misconfigured
from models.chat import open_chat
from models.embeddings import describe, open_embeddings
from models.extractive import Extractive
from models.known import UNMEASURED_FLOOR, KnownModel
from models.settings import ModelSettings
from pydantic import ValidationError


def test_without_a_key_everything_is_local() -> None:
    settings = ModelSettings()
    assert (settings.embedding_model, settings.chat_model) == ("local", "extractive")
    assert isinstance(open_chat(settings), Extractive)
    assert describe(settings).dimension == 384


@pytest.mark.parametrize("name", ["openai", "openai:", "bedrock:titan", "LOCAL", "google_genai: ", ""])
def test_a_model_that_nobody_offers_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ModelSettings(embedding_model=name)
    with pytest.raises(ValidationError):
        ModelSettings(chat_model=name)


def test_a_known_model_needs_no_dimension_and_may_be_given_another() -> None:
    small = "openai:text-embedding-3-small"
    assert describe(ModelSettings(embedding_model=small)) == KnownModel(1536, 0.25)
    assert describe(ModelSettings(embedding_model=small, embedding_dimension=256)).dimension == 256


def test_an_unknown_model_needs_its_dimension() -> None:
    with pytest.raises(Misconfigured, match="DOCQA_EMBEDDING_DIMENSION"):
        open_embeddings(ModelSettings(embedding_model="openai:nomic-embed-text"))
    told = ModelSettings(embedding_model="openai:nomic-embed-text", embedding_dimension=768)
    assert describe(told) == KnownModel(768, UNMEASURED_FLOOR)


def test_the_local_model_cannot_be_given_another_dimension() -> None:
    with pytest.raises(Misconfigured, match="384"):
        describe(ModelSettings(embedding_dimension=512))


def test_the_floor_can_be_set() -> None:
    assert describe(ModelSettings(evidence_floor=0.5)).evidence_floor == 0.5
    assert describe(ModelSettings(evidence_floor=0)).evidence_floor == 0

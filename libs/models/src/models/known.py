"""What is known of embedding models by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownModel:
    """`evidence_floor` is a cosine: a passage below it is no evidence for the question."""

    dimension: int
    evidence_floor: float


KNOWN = {
    # Measured (tests/evidence/measure.py; 24 facts, 24 questions that none of them answers). Facts standing alone:
    # every answering passage lies at 0.36 or above, 8 % of the idle questions find one at 0.35. Facts among 700
    # characters of talk: 83 % lie above 0.35 (what is lost shares rare words with its question, and qa looks for those
    # apart), no idle question does.
    "local": KnownModel(384, 0.35),
    # Not measured by us. The text-embedding-3 models put unrelated texts at about 0.1 to 0.2; ada-002 and Gemini's
    # crowd all texts into a narrow cone. Measure with your key, and set DOCQA_EVIDENCE_FLOOR if yours differ.
    "openai:text-embedding-3-small": KnownModel(1536, 0.25),
    "openai:text-embedding-3-large": KnownModel(3072, 0.25),
    "openai:text-embedding-ada-002": KnownModel(1536, 0.75),
    "google_genai:gemini-embedding-001": KnownModel(3072, 0.55),
    "google_genai:text-embedding-004": KnownModel(768, 0.45),
}

UNMEASURED_FLOOR = 0.2
"""For models that nobody has measured: low, for a passage wrongly kept is still judged by the chat model."""

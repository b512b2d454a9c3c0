"""What is known of embedding models by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownModel:
    """`evidence_floor` is a cosine: a passage below it is no evidence for the question."""

    dimension: int
    evidence_floor: float


KNOWN = {
    "local": KnownModel(384, 0.30),
    "openai:text-embedding-3-small": KnownModel(1536, 0.25),
    "openai:text-embedding-3-large": KnownModel(3072, 0.25),
    "openai:text-embedding-ada-002": KnownModel(1536, 0.72),
    "google_genai:gemini-embedding-001": KnownModel(3072, 0.55),
    "google_genai:text-embedding-004": KnownModel(768, 0.45),
}

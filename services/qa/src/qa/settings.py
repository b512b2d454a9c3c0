"""What qa is told."""

from typing import ClassVar

from chassis.settings import ChromaSettings, ObjectStoreSettings, ServiceSettings
from models.settings import ModelSettings
from pydantic import Field


class QaSettings(ModelSettings, ChromaSettings, ObjectStoreSettings, ServiceSettings):
    """How patient answers are, and how much is done at once."""

    service: ClassVar[str] = "qa"

    vectors_timeout: float = Field(
        # A query takes 3 to 5 ms; a minute of embedding beside it has been seen to make that 200.
        default=2,
        gt=0,
        le=60,
        description="Seconds that Chroma may take; after them an answer rests on full text alone, or is 503.",
    )
    indexers: int = Field(default=2, ge=1, le=32, description="Documents whose passages are copied at once.")
    answers_grace: float = Field(
        # Requests have 12 s after SIGTERM: what is stopped then must still be stored and sent.
        default=8,
        ge=0,
        le=12,
        description="Seconds that answers under way may go on after SIGTERM, before they are stopped and kept.",
    )

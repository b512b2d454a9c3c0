"""What the embedder is told."""

from typing import ClassVar

from chassis.settings import ChromaSettings, ObjectStoreSettings, OperatorSettings, ServiceSettings
from models.settings import ModelSettings
from pydantic import Field


class EmbedderSettings(ModelSettings, ChromaSettings, ObjectStoreSettings, OperatorSettings, ServiceSettings):
    service: ClassVar[str] = "embedder"

    # 64 keep a query at 2.2 times that of a lone user with 1,000 users and 100,000 chunks, in 0.4 GB.
    shards: int = Field(default=64, ge=1, le=4096, description="Collections of an index that is begun from now on.")
    # An upsert of 1,000 vectors takes Chroma up to 0.7 s, where it has 16,000; a flush of its log has taken 5 s.
    chroma_timeout: float = Field(default=30, gt=0, le=600, description="Seconds that a call to Chroma may take.")
    # With back-off an outage of a provider or of Chroma for four to eight minutes fails no document.
    tries: int = Field(default=10, ge=1, le=100, description="How often a batch is tried before its version fails.")
    rebuilds: int = Field(default=4, ge=1, le=64, description="Documents that are brought into a new index at once.")

    @property
    def batches(self) -> int:
        """Batches in hand: enough to keep every call to the model in flight while others are read and written."""
        calls = 1 if self.embedding_model == "local" else self.provider_in_flight
        return calls + max(2, calls // 2)

"""What the gateway is told."""

from typing import Annotated, ClassVar

from chassis.settings import HttpUrl, ObjectStoreSettings, Origins, ServiceSettings, split_commas
from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

Seconds = Annotated[int, Field(gt=0)]
SecondsEach = Annotated[tuple[Seconds, ...], BeforeValidator(split_commas)]


class ModelNames(BaseSettings):
    """The models' names: the gateway runs none, but tells which ones answer."""

    embedding_model: str = Field(
        default="local", description="The model that embeds: local, openai:… or google_genai:…."
    )
    chat_model: str = Field(default="extractive", description="The model that answers.")


class GatewaySettings(ServiceSettings, ObjectStoreSettings, ModelNames):
    """Where the other services are, what is taken, and how patient the reconciler is."""

    service: ClassVar[str] = "gateway"

    qa_url: HttpUrl = Field(description="Where the qa service listens.")
    ingest_url: HttpUrl = Field(description="Where the ingest service listens.")
    cors_origins: Origins = Field(
        default=(),
        validation_alias="DOCQA_CORS_ORIGINS",
        description="Origins whose pages may call the API, separated by commas.",
    )

    max_file_bytes: int = Field(default=50 * 1024 * 1024, ge=1, description="Largest file that is taken.")
    max_files: int = Field(default=20, ge=1, le=1000, description="Most files that one upload may bring.")
    # A client that sends nothing for so long is gone, whatever its connection says.
    upload_stall_seconds: Seconds = Field(default=30, description="Silence after which an upload is given up.")
    upload_seconds: Seconds = Field(default=3600, description="Longest time that one upload may take.")
    raw_link_seconds: Seconds = Field(default=15 * 60, description="Life of a link that needs no token.")
    idempotency_seconds: Seconds = Field(default=24 * 3600, description="How long an Idempotency-Key is remembered.")
    heartbeat_seconds: float = Field(default=15, gt=0, description="Pause between two signs of life of the stream.")

    # An answer that is being written takes its model's time; the stream says something every 15 s.
    upstream_seconds: Seconds = Field(default=180, description="Longest silence of a service behind this one.")

    # p99 of upload to ready is far below it where no backlog is: what has not moved by then may have been lost.
    reconcile_after_seconds: Seconds = Field(
        default=60, description="Standstill after which the reconciler asks for a document or a receipt."
    )
    reconcile_ceiling_seconds: Seconds = Field(default=3600, description="Longest pause between two such rounds.")
    reconcile_alert_rounds: int = Field(
        default=8, ge=1, description="Unanswered rounds after which it alerts, and goes on once a day."
    )
    # A backlog is not a loss: more rounds than this at once would only be load.
    reconcile_batch: int = Field(default=20, ge=1, description="Most rounds that one look of the reconciler starts.")

    # The longest lease of any service, which is half a minute; an hour; a day: when a writer may last have been late.
    sweep_seconds: SecondsEach = Field(
        default=(35, 3600, 86400), description="Seconds after a deletion at which its store is counted again."
    )
    orphan_seconds: Seconds = Field(default=86400, description="Age at which an object without a row is removed.")

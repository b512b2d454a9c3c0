"""What ingest is told."""

from os import cpu_count
from typing import ClassVar, Self

from chassis.settings import ObjectStoreSettings, ServiceSettings
from pydantic import Field, model_validator

from ingest.limits import Limits
from ingest.notes import is_note
from ingest.reading import Engine


class IngestSettings(ObjectStoreSettings, ServiceSettings):
    """Limits are for one document. Passing one ends its processing with a code; see README.md."""

    service: ClassVar[str] = "ingest"

    pdf_engine: Engine = Field(
        default=Engine.PDFIUM, description="pdfium, with pypdf for what pdfium cannot read; or pypdf alone."
    )
    # 1,000 characters of English are 200 to 250 tokens: the local embedding model reads 256 and ignores the rest.
    chunk_size: int = Field(default=1000, ge=100, le=20_000, description="Characters in a chunk, at most.")
    # Two sentences: enough for a fact that is cut in the middle to stand whole in one of the two chunks.
    chunk_overlap: int = Field(default=150, ge=0, description="Characters that a chunk repeats, at most.")
    readers: int = Field(
        default_factory=lambda: min(4, cpu_count() or 1),
        ge=1,
        le=64,
        description="Documents that are read at once, each in a process; one a core and at most four by default.",
    )
    # The longest manuals that people upload have 5,000 pages; pdfium reads them in 16 s.
    max_pages: int = Field(default=5000, ge=1, description="Pages of a PDF.")
    # More than a text file of 50 MB can hold, so that only a PDF can pass it.
    max_characters: int = Field(default=60_000_000, ge=1, le=500_000_000, description="Characters of a document.")
    # The worst honest files that we know, 50 MB of short lines or of text without any breaks, take 20 s.
    cpu_seconds: int = Field(default=60, ge=1, description="Processor time for reading a document.")
    wall_seconds: int = Field(default=180, ge=1, description="Time for reading a document.")
    # Decoding and splitting 50 MB of text takes about 600 MB.
    memory_mb: int = Field(default=1024, ge=64, description="Memory for reading a document.")

    @property
    def limits(self) -> Limits:
        return Limits(
            max_pages=self.max_pages,
            max_characters=self.max_characters,
            cpu_seconds=self.cpu_seconds,
            wall_seconds=self.wall_seconds,
            memory_bytes=self.memory_mb * 1024 * 1024,
        )

    def is_note(self, media_type: str, size_bytes: int) -> bool:
        """Whether a file is one chunk, and is read without a process of its own."""
        return is_note(media_type, size_bytes, chunk_size=self.chunk_size, chunk_overlap=self.chunk_overlap)

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Self:
        if self.chunk_overlap * 2 > self.chunk_size:
            raise ValueError("chunk_overlap must be at most half of chunk_size")
        return self

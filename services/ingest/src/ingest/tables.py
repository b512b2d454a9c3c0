"""What ingest keeps: which versions it has split, and where each of their chunks lies."""

from datetime import datetime
from uuid import UUID

from chassis.database import NAMING, TYPES
from sqlalchemy import BigInteger, MetaData, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

metadata = MetaData(naming_convention=NAMING)


class Base(DeclarativeBase):
    metadata = metadata
    type_annotation_map = TYPES


class SplitVersion(Base):
    """A version of a document that is split. `attempt` names the chunks file that everybody reads."""

    __tablename__ = "split_versions"

    document_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner_id: Mapped[UUID]
    attempt: Mapped[int]
    pages: Mapped[int | None]
    chunk_count: Mapped[int]
    chunks_sha256: Mapped[str]
    split_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DocumentChunk(Base):
    """Where a chunk lies: in its page (or file), and as a byte range in the chunks file. Its text is only there."""

    __tablename__ = "document_chunks"

    document_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    page: Mapped[int | None]
    text_start: Mapped[int]
    text_end: Mapped[int]
    byte_start: Mapped[int] = mapped_column(BigInteger)
    byte_end: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes]

"""What the embedder keeps: indexes, how far each version is, and every vector: the index in Chroma is only a copy."""

from datetime import datetime
from uuid import UUID

from chassis.database import NAMING, TYPES
from sqlalchemy import BigInteger, CheckConstraint, Index, MetaData, UniqueConstraint, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

metadata = MetaData(naming_convention=NAMING)


class Base(DeclarativeBase):
    metadata = metadata
    type_annotation_map = TYPES


class VectorIndex(Base):
    """An index: `shards` collections in Chroma, all of one model. See `indexes` for its states."""

    __tablename__ = "vector_indexes"
    __table_args__ = (
        UniqueConstraint("generation"),
        CheckConstraint("state IN ('creating', 'building', 'active', 'retired', 'dropped')", name="state"),
        Index("uq_vector_indexes_active", "state", unique=True, postgresql_where=text("state = 'active'")),
    )

    index_id: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    model: Mapped[str]
    dimension: Mapped[int]
    shards: Mapped[int]
    state: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    activated_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]


class EmbeddingRun(Base):
    """A version that is, or is being, embedded: `done` of `total` batches, from the chunks file of that attempt."""

    __tablename__ = "embedding_runs"

    document_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner_id: Mapped[UUID]
    attempt: Mapped[int]
    round: Mapped[int]
    pages: Mapped[int | None]
    chunk_count: Mapped[int]
    chunks_sha256: Mapped[str]
    total: Mapped[int]
    done: Mapped[int] = mapped_column(server_default="0")
    embedded_count: Mapped[int] = mapped_column(server_default="0")
    progressed_at: Mapped[datetime | None]
    begun_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DocumentEmbedding(Base):
    """The vector of a chunk in an index: 32-bit floats, little-endian; `embedding_id` is its id in Chroma."""

    __tablename__ = "document_embeddings"
    __table_args__ = (Index("ix_document_embeddings_document_id", "document_id", "version"),)

    index_id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    page: Mapped[int | None]
    embedding_id: Mapped[str]
    vector: Mapped[bytes]


class ErasedVectors(Base):
    """How many vectors were erased from a collection of an index since it was made."""

    __tablename__ = "erased_vectors"

    index_id: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    vectors: Mapped[int] = mapped_column(BigInteger)

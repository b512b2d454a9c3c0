"""What happened, in the past tense: one class per fact, its version in its type.

Facts carry ids, numbers and codes. They never carry text, vectors or filenames: what is deleted must not live on
in a log.
A field may be added with a default; anything else that an old reader would notice is a new class with the next version.
"""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contracts.topics import DOCUMENTS, INDEXES, USERS, Topic

LARGEST = 2**31 - 1
LARGEST_SIZE = 2**63 - 1
MOST_CHUNKS = 10_000_000


def _at_most(most: int) -> AfterValidator:
    """Larger numbers fit no column. Nothing of ours ever said one, so the published schemas do not have the bound."""

    def check(value: int) -> int:
        if value > most:
            raise ValueError(f"must not be larger than {most}")
        return value

    return AfterValidator(check)


Count = Annotated[int, Field(ge=0), _at_most(LARGEST)]
Size = Annotated[int, Field(ge=0), _at_most(LARGEST_SIZE)]
Chunks = Annotated[int, Field(ge=0), _at_most(MOST_CHUNKS)]
Version = Annotated[int, Field(ge=1), _at_most(LARGEST)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Stage = Literal["ingest", "embedder", "qa"]
Store = Literal["gateway", "ingest", "embedder", "qa"]


class Fact(BaseModel):
    """Something that has happened. Readers ignore fields they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    topic: ClassVar[Topic]
    # A fact after which nobody is asked again: the outbox keeps it as long as the topic would, so that it can be said
    # again to a broker that forgot it.
    kept: ClassVar[bool] = False
    # A step that is only shown: nobody begins to work on hearing it, so that it may go with what is said after it.
    can_wait: ClassVar[bool] = False

    @property
    def subject(self) -> str:
        """The id that the fact is about; its key on the topic, so that facts about one subject stay in order."""
        raise NotImplementedError


class DocumentFact(Fact):
    """A fact about one version of a document.

    `round` counts how often the reconciler has asked; `attempt` is the taking of the job that said it.
    """

    topic: ClassVar[Topic] = DOCUMENTS

    document_id: UUID
    owner_id: UUID
    version: Version
    round: Count = 0
    attempt: Count = 0

    @property
    def subject(self) -> str:
        return str(self.document_id)


class DocumentUploaded(DocumentFact):
    """A file is accepted and stored, or is to be processed again as a new version."""

    type: ClassVar[str] = "document.uploaded.v1"

    media_type: str
    size_bytes: Size
    sha256: Sha256


class DocumentParsingStarted(DocumentFact):
    """Its job has been taken for the first time."""

    type: ClassVar[str] = "document.parsing_started.v1"
    can_wait: ClassVar[bool] = True


class DocumentChunked(DocumentFact):
    """Its text is extracted and split; `attempt` and `chunks_sha256` name the one chunks file that everybody reads."""

    type: ClassVar[str] = "document.chunked.v1"

    chunk_count: Chunks
    pages: Count | None
    chunks_sha256: Sha256


class DocumentEmbeddingProgressed(DocumentFact):
    """Some of its chunks have their vectors; said at most once a second."""

    type: ClassVar[str] = "document.embedding_progressed.v1"
    can_wait: ClassVar[bool] = True

    embedded_count: Chunks
    chunk_count: Chunks


class DocumentEmbedded(DocumentFact):
    """All of its vectors are stored, in every index named."""

    type: ClassVar[str] = "document.embedded.v1"

    chunk_count: Chunks
    pages: Count | None
    chunks_sha256: Sha256
    indexes: tuple[str, ...]


class DocumentReady(DocumentFact):
    """It can be asked about, from this instant on."""

    type: ClassVar[str] = "document.ready.v1"
    kept: ClassVar[bool] = True

    chunk_count: Chunks
    pages: Count | None


class DocumentFailed(DocumentFact):
    """This version cannot be processed. `detail` is written by us for its owner and quotes nothing of the document."""

    type: ClassVar[str] = "document.failed.v1"
    kept: ClassVar[bool] = True

    stage: Stage
    code: str
    detail: str
    retryable: bool


class DocumentDeleted(DocumentFact):
    """Its owner deleted it; every version is over."""

    type: ClassVar[str] = "document.deleted.v1"

    deletion_id: UUID


class DocumentPurged(DocumentFact):
    """One service has erased what it held and counted what remains; `verified` once its sweeper has counted again."""

    type: ClassVar[str] = "document.purged.v1"

    deletion_id: UUID
    service: Store
    erased: Count
    remaining: Count
    verified: bool = False


class UserFact(Fact):
    """A fact about an account."""

    topic: ClassVar[Topic] = USERS

    user_id: UUID
    deletion_id: UUID
    round: Count = 0

    @property
    def subject(self) -> str:
        return str(self.user_id)


class UserDeleted(UserFact):
    """An account is closed, and everything of it is to be erased. The counts are auth's part of the receipt."""

    type: ClassVar[str] = "user.deleted.v1"

    erased: Count = 0
    remaining: Count = 0


class UserPurged(UserFact):
    """One service holds nothing of the account any more."""

    type: ClassVar[str] = "user.purged.v1"

    service: Literal["gateway", "qa"]
    erased: Count
    remaining: Count


class IndexActivated(Fact):
    """Questions are answered from this index from now on; the highest generation counts."""

    type: ClassVar[str] = "index.activated.v1"
    topic: ClassVar[Topic] = INDEXES
    kept: ClassVar[bool] = True

    index_id: str
    generation: Version
    model: str
    dimension: Annotated[int, Field(ge=1), _at_most(LARGEST)]
    shards: Annotated[int, Field(ge=1), _at_most(LARGEST)]

    @property
    def subject(self) -> str:
        # One key for all of them: compaction keeps the newest.
        return "active"


FACTS: dict[str, type[Fact]] = {
    fact.type: fact
    for fact in (
        DocumentUploaded,
        DocumentParsingStarted,
        DocumentChunked,
        DocumentEmbeddingProgressed,
        DocumentEmbedded,
        DocumentReady,
        DocumentFailed,
        DocumentDeleted,
        DocumentPurged,
        UserDeleted,
        UserPurged,
        IndexActivated,
    )
}
"""Every fact by its type."""

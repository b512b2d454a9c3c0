"""How far a document has come, and what each fact about it changes.

Facts arrive in any order and any number of times; state only moves forward.
"""

from dataclasses import dataclass, replace

from contracts.documents import DocumentStatus
from contracts.facts import (
    DocumentChunked,
    DocumentEmbedded,
    DocumentEmbeddingProgressed,
    DocumentFact,
    DocumentFailed,
    DocumentParsingStarted,
    DocumentReady,
)

_ORDER = {
    DocumentStatus.UPLOADED: 0,
    DocumentStatus.PARSING: 1,
    DocumentStatus.EMBEDDING: 2,
    DocumentStatus.READY: 3,
    DocumentStatus.FAILED: 3,
    DocumentStatus.DELETING: 4,
}
TERMINAL = frozenset({DocumentStatus.READY, DocumentStatus.FAILED})


class IllegalTransition(Exception):
    """The document cannot go there from where it is."""

    def __init__(self, status: DocumentStatus, wanted: DocumentStatus) -> None:
        super().__init__(f"a document that is {status} cannot become {wanted}")
        self.status = status
        self.wanted = wanted


@dataclass(frozen=True)
class Verdict:
    """Why a version failed."""

    stage: str
    code: str
    detail: str
    retryable: bool


def verdict_of(stage: str | None, code: str | None, detail: str | None, retryable: bool | None) -> Verdict | None:
    """As a document's row has it: in columns that are empty while there is none."""
    if code is None:
        return None
    return Verdict(stage=stage or "", code=code, detail=detail or "", retryable=bool(retryable))


@dataclass(frozen=True)
class Progress:
    """Status, pages and counts are those of `version`, the newest; `live_version` is the one that answers."""

    version: int = 1
    status: DocumentStatus = DocumentStatus.UPLOADED
    live_version: int | None = None
    pages: int | None = None
    chunk_count: int | None = None
    embedded_count: int = 0
    verdict: Verdict | None = None

    @property
    def may_succeed_later(self) -> bool:
        """Failed, but not by its own fault."""
        return self.status is DocumentStatus.FAILED and self.verdict is not None and self.verdict.retryable

    def hear(self, fact: DocumentFact) -> "Progress":
        """The progress after `fact`; the very same object if it changes nothing."""
        if self.status is DocumentStatus.DELETING or fact.version > self.version:
            return self
        heard = self._hear_of_this_version(fact) if fact.version == self.version else self._hear_of_an_older(fact)
        return self if heard == self else heard

    def again(self) -> "Progress":
        """The next version, from the start. Raises `IllegalTransition` unless this one has ended."""
        if self.status not in TERMINAL:
            raise IllegalTransition(self.status, DocumentStatus.UPLOADED)
        return Progress(version=self.version + 1, live_version=self.live_version)

    def deleted(self) -> "Progress":
        """Being deleted, which ends everything else; from any state."""
        return replace(self, status=DocumentStatus.DELETING)

    def _hear_of_an_older(self, fact: DocumentFact) -> "Progress":
        if not isinstance(fact, DocumentReady):
            return self
        return replace(self, live_version=max(self.live_version or 0, fact.version))

    def _hear_of_this_version(self, fact: DocumentFact) -> "Progress":  # noqa: PLR0911 - one line a fact
        match fact:
            case DocumentParsingStarted():
                return self._reach(DocumentStatus.PARSING)
            case DocumentChunked(chunk_count=chunks, pages=pages):
                return self._reach(DocumentStatus.EMBEDDING)._count(chunks=chunks, pages=pages)
            case DocumentEmbeddingProgressed(chunk_count=chunks, embedded_count=embedded):
                return self._reach(DocumentStatus.EMBEDDING)._count(chunks=chunks, embedded=embedded)
            case DocumentEmbedded(chunk_count=chunks, pages=pages):
                return self._reach(DocumentStatus.EMBEDDING)._count(chunks=chunks, pages=pages, embedded=chunks)
            case DocumentReady(chunk_count=chunks, pages=pages):
                return self._become_ready()._count(chunks=chunks, pages=pages, embedded=chunks)
            case DocumentFailed(stage=stage, code=code, detail=detail, retryable=retryable):
                return self._fail(Verdict(stage=stage, code=code, detail=detail, retryable=retryable))
            case _:
                return self

    def _reach(self, status: DocumentStatus) -> "Progress":
        return replace(self, status=status) if _ORDER[status] > _ORDER[self.status] else self

    def _become_ready(self) -> "Progress":
        if self.status in TERMINAL:
            return self
        return replace(self, status=DocumentStatus.READY, live_version=max(self.live_version or 0, self.version))

    def _fail(self, verdict: Verdict) -> "Progress":
        return self if self.status in TERMINAL else replace(self, status=DocumentStatus.FAILED, verdict=verdict)

    def _count(self, *, chunks: int, pages: int | None = None, embedded: int = 0) -> "Progress":
        return replace(
            self,
            chunk_count=max(self.chunk_count or 0, chunks),
            pages=pages if self.pages is None else self.pages,
            embedded_count=max(self.embedded_count, embedded),
        )

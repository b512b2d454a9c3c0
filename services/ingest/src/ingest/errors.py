"""What can be wrong with a request, and the one table that says how each is answered."""

from collections.abc import Mapping
from uuid import UUID

from chassis.failures import Failure
from chassis.problems import ErrorEntry


class DocumentNotFound(Exception):
    """It never existed, is deleted, or is somebody else's: the answer is the same."""

    def __init__(self, document: UUID) -> None:
        super().__init__("There is no such document.")
        self.document = document


class DocumentNotReady(Exception):
    """No version of it answers yet."""

    def __init__(self, document: UUID) -> None:
        super().__init__("No version of the document can be read yet: wait until it is ready.")
        self.document = document


class CursorStale(Exception):
    """A newer version took over since the list was begun."""

    def __init__(self, document: UUID, version: int) -> None:
        super().__init__("The document was processed again since: start again without the cursor.")
        self.document = document
        self.version = version


ERRORS: Mapping[type[Exception], ErrorEntry] = {
    DocumentNotFound: ErrorEntry(404, "document.not_found", "No such document"),
    DocumentNotReady: ErrorEntry(409, "document.not_ready", "Document not ready"),
    CursorStale: ErrorEntry(409, "cursor.stale", "Cursor is stale"),
    Failure: ErrorEntry(503, "service.unavailable", "Service unavailable"),
}
"""Error -> answer."""

"""What can be wrong with a request, and the one table that says how each is answered."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from chassis.failures import Failure
from chassis.problems import ErrorEntry, ProblemError, retry_after_header
from contracts.documents import DocumentStatus, RejectedFile, UploadProblem
from contracts.problems import FieldError, Problem

from gateway.multipart import MalformedBody
from gateway.owners import AccountClosed
from gateway.ranges import UnsatisfiableRange


class DocumentNotFound(Exception):
    """It never existed, is erased, or is somebody else's: the answer is the same."""

    def __init__(self, *documents: UUID) -> None:
        super().__init__("There is no such document.")
        self.documents = documents


class DocumentBusy(Exception):
    """It is being processed, or deleted."""

    def __init__(self, document: UUID, status: DocumentStatus) -> None:
        super().__init__(f"The document is {status}: it cannot be processed again now.")
        self.document = document
        self.status = status


class DocumentNotReady(Exception):
    """No version of it answers yet."""

    def __init__(self, *documents: UUID) -> None:
        super().__init__("No version of the document can be read yet: wait until it is ready.")
        self.documents = documents


class DeletionNotFound(Exception):
    """No such receipt, or somebody else's."""

    def __init__(self, deletion: UUID) -> None:
        super().__init__("There is no such deletion.")
        self.deletion = deletion


class LinkNotFound(Exception):
    """The link was never made, has expired, or its document is gone."""

    def __init__(self) -> None:
        super().__init__("This link is not valid, or not any more.")


class TooManyFiles(Exception):
    """More files than one upload may bring; nothing of it is stored."""

    def __init__(self, most: int) -> None:
        super().__init__(f"One upload takes at most {most} files; nothing was stored.")
        self.most = most


class BodyTooLarge(Exception):
    """The whole body is larger than anything that could be accepted."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The body is too large: at most {most} bytes are taken.")
        self.most = most


class UploadTooSlow(Exception):
    """Nothing came for too long, or all of it takes too long."""

    def __init__(self) -> None:
        super().__init__("The upload was given up: its bytes came too slowly.")


class UnsupportedBody(Exception):
    """The body is of a type, or in an encoding, that this route does not read; the message says what to send."""


class IdempotencyRunning(Exception):
    """The first call with this key has not ended."""

    headers: Mapping[str, str] = {"Retry-After": "2"}

    def __init__(self, key: str) -> None:
        super().__init__("A call with this Idempotency-Key is still running.")
        self.key = key


class NothingAccepted(ProblemError):
    """Not one file of an upload was taken; the problem says why, file by file."""

    def __init__(self, rejected: Sequence[RejectedFile]) -> None:
        codes = {refusal.code for refusal in rejected}
        status, code, title, detail = _VERDICTS.get(
            codes.pop() if len(codes) == 1 else "", (422, "upload.nothing_accepted", "Nothing accepted", _NO_FILE)
        )
        errors = [
            FieldError(field=f"files[{index}]", code=refusal.code, detail=refusal.detail)
            for index, refusal in enumerate(rejected)
        ]
        super().__init__(status, code, title, detail, errors=errors if status == 422 else ())
        self.rejected = list(rejected)

    def problem(self, request_id: str) -> Problem:
        plain = super().problem(request_id)
        return UploadProblem(**plain.model_dump(), rejected=self.rejected)


_NO_FILE = "Not one of the files can be taken."
_VERDICTS = {
    "upload.too_large": (413, "upload.too_large", "File too large", "Every file is larger than what is taken."),
    "upload.unsupported_type": (
        415,
        "upload.unsupported_type",
        "Unsupported type",
        "Not one of the files is a PDF, a text or Markdown by content, name and declared type.",
    ),
}


def no_files() -> ProblemError:
    """422 for an upload without a part."""
    detail = "Send at least one file, as a part named files."
    return ProblemError(
        422,
        "upload.no_files",
        "No files",
        detail,
        errors=[FieldError(field="files", code="upload.no_files", detail=detail)],
    )


def malformed(error: MalformedBody) -> ProblemError:
    """422 for a body that is no multipart form."""
    return ProblemError(
        422,
        "upload.malformed",
        "Malformed form",
        str(error),
        errors=[FieldError(field="body", code="upload.malformed", detail=str(error))],
    )


def idempotency_mismatch() -> ProblemError:
    """422 for a key that was used for something else."""
    detail = "This Idempotency-Key was used for another call."
    return ProblemError(
        422,
        "idempotency.mismatch",
        "Key used for something else",
        detail,
        errors=[FieldError(field="Idempotency-Key", code="idempotency.mismatch", detail=detail)],
    )


def too_many_streams() -> ProblemError:
    """429 for an owner who follows their documents on as many streams as one may."""
    detail = "So many streams of this account are open that no other one is begun."
    return ProblemError(429, "quota.streams", "Too many streams", detail, headers=retry_after_header(30))


ERRORS: Mapping[type[Exception], ErrorEntry] = {
    AccountClosed: ErrorEntry(401, "auth.token_invalid", "Not logged in"),
    DocumentNotFound: ErrorEntry(404, "document.not_found", "No such document"),
    DocumentBusy: ErrorEntry(409, "document.busy", "Document busy"),
    DocumentNotReady: ErrorEntry(409, "document.not_ready", "Document not ready"),
    DeletionNotFound: ErrorEntry(404, "deletion.not_found", "No such deletion"),
    LinkNotFound: ErrorEntry(404, "link.not_found", "No such link"),
    TooManyFiles: ErrorEntry(413, "upload.too_many_files", "Too many files"),
    BodyTooLarge: ErrorEntry(413, "upload.too_large", "Body too large"),
    UploadTooSlow: ErrorEntry(408, "upload.too_slow", "Upload too slow"),
    UnsupportedBody: ErrorEntry(415, "upload.unsupported_body", "Unsupported body"),
    IdempotencyRunning: ErrorEntry(409, "idempotency.running", "Still running"),
    UnsatisfiableRange: ErrorEntry(416, "range.unsatisfiable", "Range not satisfiable"),
    # The object store is away, full, or not as it should be: the call was not carried out.
    Failure: ErrorEntry(503, "service.unavailable", "Service unavailable"),
}
"""Error -> answer."""

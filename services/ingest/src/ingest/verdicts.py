"""Why a document cannot be processed, in codes that clients know and words that its owner can act on."""

from enum import StrEnum

from chassis.failures import Permanent


class Verdict(StrEnum):
    """The codes of documents that are refused for their own sake; all stand in docs/errors.md."""

    CORRUPT = "document.corrupt"
    ENCRYPTED = "document.encrypted"
    NO_TEXT = "document.no_text"
    TOO_COMPLEX = "document.too_complex"
    TOO_MANY_PAGES = "document.too_many_pages"
    TOO_MUCH_TEXT = "document.too_much_text"
    UNSUPPORTED = "document.unsupported"

    @property
    def detail(self) -> str:
        return _DETAILS[self]


_DETAILS = {
    Verdict.CORRUPT: "The file is damaged and cannot be read as a PDF. Save or export it again.",
    Verdict.ENCRYPTED: "The PDF is locked, by a password or a certificate. Upload a copy that is not.",
    Verdict.NO_TEXT: "No text was found in it. If it is a scan, run text recognition on it first.",
    Verdict.TOO_COMPLEX: "Reading it takes more time or memory than one document may use.",
    Verdict.TOO_MANY_PAGES: "It has more pages than one document may have. Split it.",
    Verdict.TOO_MUCH_TEXT: "It has more text than one document may have. Split it.",
    Verdict.UNSUPPORTED: "Files of this type are not read.",
}


class Refused(Exception):
    """The document itself is the reason that it cannot be processed."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.value)
        self.verdict = verdict

    def as_failure(self) -> Permanent:
        return Permanent(self.verdict, self.verdict.detail)


class CannotRead(Exception):
    """An engine makes nothing of the file. Another one may."""

"""What can go wrong while answering, and the one table of what each is over HTTP."""

from uuid import UUID

from chassis.failures import Failure, Misconfigured, Permanent
from chassis.problems import ErrorEntry
from models.failures import BAD_ANSWER, TIMEOUT

from qa.vectors import IndexUnavailable


class ChatNotFound(Exception):
    def __init__(self, chat: UUID) -> None:
        super().__init__("There is no such chat.")
        self.chat = chat


class MessageNotFound(Exception):
    def __init__(self, message: UUID) -> None:
        super().__init__("There is no such message in this chat.")
        self.message = message


class DocumentNotFound(Exception):
    def __init__(self, document: UUID) -> None:
        super().__init__("There is no such document.")
        self.document = document


class SourcesDeleted(Exception):
    """A source was deleted while the answer was being written: it is not given out and not kept."""

    def __init__(self) -> None:
        super().__init__("A document that this answer drew on was deleted while it was being written. Ask again.")


class AccountClosed(Exception):
    """The account was closed while somebody asked in its name."""

    def __init__(self) -> None:
        super().__init__("This account has been closed.")
        self.headers = {"WWW-Authenticate": 'Bearer realm="docqa", error="invalid_token"'}


class ProviderTrouble(Exception):
    """A model's provider did not do its part; `retry_after` in seconds, if it said so."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.detail}")
        self.detail = failure.detail
        self.retry_after: float | None = getattr(failure, "retry_after", None)


class ProviderUnavailable(ProviderTrouble):
    """It cannot be reached, is busy or down."""


class ProviderTimeout(ProviderTrouble):
    """It did not answer in time."""


class ProviderBadAnswer(ProviderTrouble):
    """What it sent is no answer."""


class ProviderRefused(ProviderTrouble):
    """It will not answer this request."""


class ProviderMisconfigured(ProviderTrouble):
    """No key, a wrong one, or a model that it does not know."""


def provider_trouble(failure: Failure) -> ProviderTrouble:
    """The failure as the one who asks meets it."""
    if isinstance(failure, Misconfigured):
        return ProviderMisconfigured(failure)
    if isinstance(failure, Permanent):
        return ProviderRefused(failure)
    kinds = {TIMEOUT: ProviderTimeout, BAD_ANSWER: ProviderBadAnswer}
    return kinds.get(failure.code, ProviderUnavailable)(failure)


ERRORS: dict[type[Exception], ErrorEntry] = {
    ChatNotFound: ErrorEntry(404, "chat.not_found", "Chat not found"),
    MessageNotFound: ErrorEntry(404, "message.not_found", "Message not found"),
    DocumentNotFound: ErrorEntry(404, "document.not_found", "Document not found"),
    SourcesDeleted: ErrorEntry(409, "answer.sources_deleted", "Sources deleted"),
    AccountClosed: ErrorEntry(401, "auth.token_invalid", "Not logged in"),
    IndexUnavailable: ErrorEntry(503, "service.unavailable", "Service unavailable"),
    ProviderUnavailable: ErrorEntry(503, "provider.unavailable", "Provider unavailable"),
    ProviderTimeout: ErrorEntry(504, "provider.timeout", "Provider timed out"),
    ProviderBadAnswer: ErrorEntry(502, "provider.bad_answer", "Bad answer from the provider"),
    ProviderRefused: ErrorEntry(502, "provider.refused", "Refused by the provider"),
    ProviderMisconfigured: ErrorEntry(503, "provider.misconfigured", "Provider misconfigured"),
}

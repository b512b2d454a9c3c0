"""Why a part of the embedded stack cannot start, in words for the person who started it."""

from pathlib import Path

from docqa.failing import PlainError


class EmbeddedUnavailable(PlainError):
    """A part of the embedded stack cannot start; the message says why and what to do."""

    part = "The embedded stack"

    def __init__(self, reason: str, *, log: Path | None = None) -> None:
        super().__init__(f"{self.part} cannot start: {reason}" + (f" (see {log})" if log else ""))
        self.reason = reason
        self.log = log


class PostgresUnavailable(EmbeddedUnavailable):
    part = "The embedded PostgreSQL"


class BrokerUnavailable(EmbeddedUnavailable):
    part = "The embedded broker"


class ChromaUnavailable(EmbeddedUnavailable):
    part = "The embedded Chroma"


class PreloadedUnavailable(EmbeddedUnavailable):
    part = "The services"

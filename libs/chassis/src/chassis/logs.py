"""Logs: one JSON object a line on standard output, with the ids that tie lines together and nothing that is private."""

import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import TracebackType
from typing import Any, ClassVar, TextIO

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from chassis.leaving_out import leaving_out
from chassis.telemetry import trace_id

# Where rich is installed, it would be loaded for the terminals that no service has: 4 MB and 0.1 s of each process.
with leaving_out("rich", "pygments"):
    import structlog

IDS = ("request_id", "trace_id", "document_id", "event_id")
"""What lines are tied together by: the trace's id comes with the trace, the others are bound with `bound`."""

SECRET_NAMES = re.compile(
    r"pass(word|wd|phrase)|secret|token|authorization|api_?key|cookie|credential|private|jwt", re.IGNORECASE
)

PRIVATE_NAMES = frozenset(
    {
        "answer",
        "body",
        "chunk",
        "comment",
        "content",
        "email",
        "filename",
        "passage",
        "prompt",
        "query",
        "question",
        "quote",
        "text",
        "title",
    }
)
"""Fields that hold what people wrote: never logged, whoever tries."""

SECRETS_IN_TEXT = [
    (re.compile(r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]+"), "[token]"),
    (re.compile(r"\b(dq_|sk-|AIza)[\w-]{6,}"), "[key]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 [redacted]"),
    (re.compile(r"(?<=://)[^/@\s:]+:[^/@\s]+@"), "[redacted]@"),
    (re.compile(r"(?i)((?:token|key|secret|password|signature|sig)=)[^&\s\"']+"), r"\1[redacted]"),
    (re.compile(r"(?<=[\w/])\?[^\s\"']+"), "?[query]"),
]

REPEATING = frozenset({"openai", "google", "langchain_google_genai"})
"""Packages whose errors repeat what a model's provider said, and with it a part of what it was asked."""

PLAIN_CODE = re.compile(r"\d{3}|[a-z]+(_[a-z]+){0,5}")

MAYBE_SECRET = re.compile(r"eyJ|dq_|sk-|AIza|[=?@]|(?i:bearer|basic)")
"""Where it finds nothing, none of the patterns would: most text is an id or a word of ours."""

LONGEST = 500
"""Characters of a message: enough for an error, too short for a document."""

REDACTED = "[redacted]"

NOISY = ("alembic", "asyncio", "faststream", "httpcore", "httpx", "httpx2", "urllib3", "uvicorn")
"""Libraries that tell at info level what only they care about."""

QUOTING = ("python_multipart",)
"""Libraries that quote in their warnings what they were given; they raise an error as well, and we tell of that."""


def configure(service: str, level: str = "info") -> None:
    """Everything that logs in this process, ours or a library's, comes out alike from now on."""
    said = [structlog.contextvars.merge_contextvars, plain_exception, redact]
    # What is ours to add holds nothing to be redacted, and comes after it.
    added = [
        _traced,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    rendered = structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder((*IDS, "code")), *said, *added],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendered],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    _Lines.out = sys.stdout
    # Ours take the short way: through the standard library's loggers a line costs nearly three times as much.
    structlog.configure(
        processors=[*said, *added, rendered],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )


class _Lines:
    """A logger's way out. What cannot be written is lost, and nobody's work with it."""

    out: ClassVar[TextIO] = sys.stdout

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self.out.write(f"{line}\n")
            self.out.flush()

    debug = info = warning = error = critical = msg


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Lines written within carry these ids."""
    with structlog.contextvars.bound_contextvars(**{name: str(value) for name, value in ids.items() if value}):
        yield


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: private fields are blanked, secrets within text are cut out, and text is cut short."""
    del logger, method
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = _redacted(name, value)
    return event


def plain_exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: an exception as its kind, its own words where they are safe, and where it happened."""
    del logger, method
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else None
    if error is None and given:
        error = sys.exc_info()[1]
    if error is not None:
        event["error"] = " < ".join(explain(one) for one in _chain(error))
        event["where"] = _frames(error)
    return event


def explain(error: BaseException) -> str:
    """An exception in words that repeat nobody's data: errors of validation, databases and providers quote it."""
    kind = type(error).__qualname__
    if isinstance(error, ValidationError):
        return f"{kind}: {', '.join(sorted({mistake['type'] for mistake in error.errors(include_input=False)}))}"
    if isinstance(error, DBAPIError):
        return f"{kind}: {type(error.orig).__name__} {getattr(error.orig, 'sqlstate', '') or ''}".rstrip()
    if "asyncpg" in type(error).__module__ or isinstance(error, UnicodeError | KeyError):
        return kind
    if type(error).__module__.partition(".")[0] in REPEATING:
        code = str(getattr(error, "code", None) or "")
        return f"{kind}: {code}" if PLAIN_CODE.fullmatch(code) else kind
    return f"{kind}: {error}" if str(error) else kind


def _redacted(name: str, value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value  # counts: `input_tokens` is no secret
    if isinstance(value, bytes) or _is_private(name):
        return REDACTED
    if isinstance(value, dict):
        return {inner: _redacted(str(inner), one) for inner, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(name, one) for one in value]
    return cleaned(explain(value) if isinstance(value, BaseException) else str(value))


@lru_cache(maxsize=1024)
def _is_private(name: str) -> bool:
    return name.lower() in PRIVATE_NAMES or SECRET_NAMES.search(name) is not None


def cleaned(text: str) -> str:
    """The text without what looks like a secret, and not longer than a line should be."""
    if MAYBE_SECRET.search(text):
        for pattern, instead in SECRETS_IN_TEXT:
            text = pattern.sub(instead, text)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _traced(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    del logger, method
    if (current := trace_id()) is not None:
        event["trace_id"] = current
    return event


def _named(service: str) -> Any:
    def name(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        del logger, method
        event["service"] = service
        return event

    return name


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen and len(seen) < 5:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _frames(error: BaseException) -> list[str]:
    """The innermost frames, without source lines and values."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [f"{frame.filename.rpartition('/src/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("the process ends", exc_info=(kind, error, trace))

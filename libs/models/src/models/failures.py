"""What a provider's trouble is called, and which of the five kinds it is."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from chassis.failures import LONGEST_RETRY_AFTER, Failure, Misconfigured, Permanent, Transient

UNAVAILABLE = "provider.unavailable"
TIMEOUT = "provider.timeout"
BAD_ANSWER = "provider.bad_answer"
MISCONFIGURED = "provider.misconfigured"
REFUSED = "provider.refused"


def out_of_time(seconds: float) -> Transient:
    return Transient(TIMEOUT, f"The model's provider did not answer within {seconds:.3g} s.")


def unreachable() -> Transient:
    return Transient(UNAVAILABLE, "The model's provider cannot be reached.")


def bad_answer(what: str) -> Transient:
    return Transient(BAD_ANSWER, f"The model's provider gave a bad answer: {what}.")


def no_key(variable: str) -> Misconfigured:
    return Misconfigured(MISCONFIGURED, f"No key for the model's provider: set {variable}.")


def from_status(status: int, headers: Mapping[str, str]) -> Failure:
    """The failure that an HTTP status means."""
    if status in (401, 402, 403):
        return Misconfigured(MISCONFIGURED, f"The model's provider refuses our key (HTTP {status}).")
    if status in (404, 405, 410):
        return Misconfigured(MISCONFIGURED, f"The provider knows no such model or address (HTTP {status}).")
    if status in (408, 504):
        return Transient(TIMEOUT, f"The model's provider ran out of time (HTTP {status}).", retry_after(headers))
    if status in (425, 429) or status >= 500:
        return Transient(UNAVAILABLE, f"The model's provider is busy or down (HTTP {status}).", retry_after(headers))
    if 400 <= status < 500:
        return Permanent(REFUSED, f"The model's provider refuses this request (HTTP {status}).")
    return bad_answer(f"HTTP {status}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The pause that `retry-after-ms` or `Retry-After` (seconds or a date) asks for, in seconds."""
    lower = {name.lower(): value for name, value in headers.items()}
    if (pause := _number(lower.get("retry-after-ms"))) is not None:
        return _bounded(pause / 1000)
    said = lower.get("retry-after")
    if (pause := _number(said)) is not None:
        return _bounded(pause)
    try:
        until = parsedate_to_datetime(said or "")
    except ValueError:
        return None
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return _bounded((aware - datetime.now(UTC)).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)

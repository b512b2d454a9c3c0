"""Cursors of a document's chunks: where a page ended, and in which version."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from chassis.problems import ProblemError, invalid

_LARGEST = 2**31 - 1  # what the columns hold


@dataclass(frozen=True)
class Place:
    """The ordinal of the first chunk of the page, in its version."""

    version: int
    ordinal: int


def write(place: Place) -> str:
    return urlsafe_b64encode(f"{place.version}:{place.ordinal}".encode()).decode().rstrip("=")


def read(cursor: str) -> Place:
    """Where to go on. 422 for what is no cursor of ours."""
    try:
        told = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        version, ordinal = (int(part) for part in told.split(":"))
    except ValueError:
        raise _refused() from None
    place = Place(version, ordinal)
    if not (0 < version <= _LARGEST and 0 <= ordinal <= _LARGEST) or write(place) != cursor:
        raise _refused()
    return place


def _refused() -> ProblemError:
    return invalid("cursor", "cursor.invalid", "This is no cursor of this list.")

"""Cursors of a document's chunks: where a page ended, and in which version."""

from dataclasses import dataclass

from chassis.cursors import no_cursor, packed, unpacked

_LARGEST = 2**31 - 1  # what the columns hold


@dataclass(frozen=True)
class Place:
    """The ordinal of the first chunk of the page, in its version."""

    version: int
    ordinal: int


def write(place: Place) -> str:
    return packed(f"{place.version}:{place.ordinal}")


def read(cursor: str) -> Place:
    """Where to go on. 422 for what is no cursor of ours."""
    try:
        version, ordinal = (int(part) for part in unpacked(cursor).split(":"))
    except ValueError:
        raise no_cursor() from None
    place = Place(version, ordinal)
    if not (0 < version <= _LARGEST and 0 <= ordinal <= _LARGEST) or write(place) != cursor:
        raise no_cursor()
    return place

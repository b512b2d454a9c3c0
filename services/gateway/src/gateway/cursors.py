"""Cursors of lists: where a page ended, and to which order and filter that belongs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from chassis.cursors import no_cursor, packed, unpacked
from contracts.documents import DocumentSort, DocumentStatus

LONGEST = 2048  # a filename of 255 characters, escaped, and the rest


@dataclass(frozen=True)
class Query:
    """What a list was asked for: order and filter. `q` is a part of a filename, whatever its case."""

    sort: DocumentSort
    status: tuple[DocumentStatus, ...] = ()
    q: str | None = None

    @property
    def digest(self) -> str:
        """Short, and the same for the same order and filter alone."""
        told = json.dumps([self.sort.value, sorted({status.value for status in self.status}), self.q or ""])
        return sha256(told.encode()).hexdigest()[:12]

    @property
    def by_name(self) -> bool:
        return self.sort in (DocumentSort.NAME, DocumentSort.NAME_REVERSED)

    @property
    def descending(self) -> bool:
        return self.sort in (DocumentSort.NEWEST, DocumentSort.NAME_REVERSED)


@dataclass(frozen=True)
class Place:
    """The last row of a page: its name or its time, and its id."""

    key: str | datetime
    id: UUID


def write(query: Query, place: Place) -> str:
    """The cursor of the page after `place`."""
    key = place.key.isoformat() if isinstance(place.key, datetime) else place.key
    return packed(json.dumps([query.digest, key, str(place.id)], separators=(",", ":")))


def read(query: Query, cursor: str) -> Place:
    """Where to go on. 422 for what is no cursor of ours, or one of another order or filter."""
    try:
        digest, key, last = _parts(cursor)
        place = Place(key=key if query.by_name else _aware(key), id=UUID(last))
        key.encode()  # a lone surrogate is nothing that a database compares
    except (ValueError, RecursionError):
        raise no_cursor() from None
    if "\x00" in key:
        raise no_cursor()
    if digest != query.digest:
        raise no_cursor("This cursor belongs to another order or filter: start again without it.")
    return place


def _parts(cursor: str) -> Sequence[str]:
    if len(cursor) > LONGEST:
        raise ValueError
    told = json.loads(unpacked(cursor))
    if not isinstance(told, list) or len(told) != 3 or not all(isinstance(part, str) for part in told):
        raise ValueError
    return told


def _aware(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError
    return time

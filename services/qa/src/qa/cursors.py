"""Cursors of the list of chats: the place of the last one shown."""

from datetime import datetime
from uuid import UUID

from chassis.cursors import no_cursor, packed, unpacked

Place = tuple[datetime, UUID]
"""When a chat last changed, and its id."""


def write(place: Place) -> str:
    changed, chat = place
    return packed(f"{changed.isoformat()} {chat}")


def read(cursor: str) -> Place:
    """The place again; 422 for what we never wrote."""
    try:
        changed, _, chat = unpacked(cursor).partition(" ")
        place = (datetime.fromisoformat(changed), UUID(chat))
    except ValueError:
        raise no_cursor() from None
    if place[0].tzinfo is None or write(place) != cursor:
        raise no_cursor()
    return place

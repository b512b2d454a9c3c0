"""Cursors of the list of chats: the place of the last one shown."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from uuid import UUID

from chassis.problems import invalid

Place = tuple[datetime, UUID]
"""When a chat last changed, and its id."""


def write(place: Place) -> str:
    changed, chat = place
    return urlsafe_b64encode(f"{changed.isoformat()} {chat}".encode()).rstrip(b"=").decode()


def read(cursor: str) -> Place:
    """The place again; 422 for what we never wrote."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        changed, _, chat = text.partition(" ")
        place = (datetime.fromisoformat(changed), UUID(chat))
    except ValueError:
        raise _forged() from None
    if place[0].tzinfo is None or write(place) != cursor:
        raise _forged()
    return place


def _forged() -> Exception:
    return invalid("cursor", "cursor.invalid", "This is no cursor of this list.")

"""Cursors of lists: where a page ended, told as one word that clients hand back and need not understand."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from chassis.problems import ProblemError, invalid


def packed(told: str) -> str:
    """Letters, digits, `-` and `_` alone."""
    return urlsafe_b64encode(told.encode()).rstrip(b"=").decode()


def unpacked(cursor: str) -> str:
    """What was packed. Raises `ValueError` for what never was."""
    told = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    if packed(told) != cursor:  # base64 passes over letters that are not its own
        raise ValueError("no cursor")
    return told


def no_cursor(detail: str = "This is no cursor of this list.") -> ProblemError:
    """422, for the one who hands it in."""
    return invalid("cursor", "cursor.invalid", detail)

"""Text that PostgreSQL and JSON take."""

import re

_NUL_OR_SURROGATE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text without what they refuse. Replaced one for one, so that positions stay what they were."""
    if text.isascii():
        return text.replace("\x00", " ")
    return _NUL_OR_SURROGATE.sub(_replacement, text)


def _replacement(refused: re.Match[str]) -> str:
    return " " if refused[0] == "\x00" else "\ufffd"

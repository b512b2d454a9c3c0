"""A filename is only ever a string that people read: never a path, never longer than a name may be."""

import unicodedata

MAX_BYTES = 255  # what a file system takes, so that the browser of whoever downloads it can save it
NAMELESS = "document"

_SURROGATES = "Cs"
_DROPPED = {"Cc", "Cf", "Co", "Cn", _SURROGATES, "Zl", "Zp"}  # controls, bidi overrides, what has no meaning


def decode(sent: bytes) -> str:
    """The name as it was sent: UTF-8 by all browsers of today, Latin-1 by the rest."""
    try:
        text = sent.decode("utf-8")
    except UnicodeDecodeError:
        text = sent.decode("latin-1")
    # Browsers escape just these three in a form's filename.
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def clean(name: str) -> str:
    """The last part of a path, without what cannot be seen, at most 255 bytes; its extension is kept."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    visible = "".join(character for character in last if unicodedata.category(character) not in _DROPPED)
    tidy = " ".join(unicodedata.normalize("NFC", visible).split())
    if not tidy.strip(". "):
        return NAMELESS
    return _shorten(tidy.strip())


def extension(name: str) -> str:
    """`.pdf` of `Report.PDF`; empty if there is none."""
    stem, dot, end = name.rpartition(".")
    return f".{end.lower()}" if dot and stem else ""


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    end = extension(name) if len(extension(name).encode()) <= 16 else ""
    kept = name[: len(name) - len(end)].encode()[: MAX_BYTES - len(end.encode())]
    return kept.decode(errors="ignore").rstrip() + name[len(name) - len(end) :]

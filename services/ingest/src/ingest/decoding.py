"""From the bytes of a text file to its text, whatever wrote it."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE

from chassis.storable import storable

# The mark of UTF-32-LE begins with that of UTF-16-LE: the longer ones come first.
_MARKS = (
    (BOM_UTF32_LE, "utf-32-le"),
    (BOM_UTF32_BE, "utf-32-be"),
    (BOM_UTF8, "utf-8"),
    (BOM_UTF16_LE, "utf-16-le"),
    (BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 8192
"""As many as the gateway looks at: what it takes for UTF-16 is read as such."""
_WIDE_SHARE = 0.7
"""Western text in UTF-16 has a NUL in nearly every other byte; no text in one-byte characters comes near that."""
_ASTRAY_SHARE = 0.05
"""And hardly any in the bytes between: few characters end in one, such as U+2500, of which tables are drawn."""


def decode(raw: bytes) -> str:
    """The text of a file, clean enough for every store.

    A byte order mark is believed and left out. Without one: UTF-16 if nearly every other byte is NUL; else UTF-8, with
    some damage if most of what is not ASCII reads as such; else Windows-1252 or Latin-1, which take any byte.
    """
    marked = _decode_marked(raw)
    return storable(_decode_unmarked(raw) if marked is None else marked)


def _decode_marked(raw: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding, errors="replace")
    return None


def _decode_unmarked(raw: bytes) -> str:
    wide = _wide_encoding(raw[:_SAMPLE_BYTES])
    if wide is not None:
        return raw.decode(wide, errors="replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_invalid(raw)


def _wide_encoding(sample: bytes) -> str | None:
    half = max(1, len(sample) // 2)
    low, high = sample[0::2].count(0), sample[1::2].count(0)
    if max(low, high) <= _WIDE_SHARE * half or min(low, high) >= _ASTRAY_SHARE * half:
        return None
    return "utf-16-le" if high > low else "utf-16-be"


def _decode_invalid(raw: bytes) -> str:
    replaced = raw.decode("utf-8", errors="replace")
    damaged = replaced.count("\N{REPLACEMENT CHARACTER}")
    foreign = sum(1 for character in replaced if character > "\x7f") - damaged
    if foreign > damaged:
        return replaced
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")

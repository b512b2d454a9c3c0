"""What a file is, judged by content, name and declared type together: all three must agree."""

from collections.abc import Mapping

from gateway.filenames import extension

HEAD_BYTES = 8192  # how much of a file is looked at; a PDF's signature may stand anywhere in its first kilobyte

PDF = "application/pdf"
TEXT = "text/plain"
MARKDOWN = "text/markdown"

ACCEPTED: Mapping[str, str] = {".pdf": PDF, ".txt": TEXT, ".md": MARKDOWN}
"""Media type by extension."""

_UNDECLARED = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_TEXTS = frozenset({TEXT, MARKDOWN, "text/x-markdown"})
_DECLARED = {
    PDF: frozenset({PDF, "application/x-pdf"}),
    TEXT: _TEXTS,
    MARKDOWN: _TEXTS,
}
# Things that people rename, and whose first bytes could pass for text.
_OTHER_SIGNATURES = (
    b"\x89PNG", b"\xff\xd8\xff", b"PK\x03\x04", b"PK\x05\x06", b"\x7fELF", b"\x1f\x8b", b"7z\xbc\xaf", b"\xfd7zXZ",
    b"{\\rtf", b"\xd0\xcf\x11\xe0", b"\xca\xfe\xba\xbe", b"SQLite format 3\x00", b"II*\x00", b"MM\x00*", b"\x00asm",
)  # fmt: skip
# A sentence may begin so as well ("ID3 is an algorithm"), but no text has the zeros that all of these have.
_SIGNATURES_IN_LETTERS = (b"MZ", b"GIF8", b"Rar!", b"BZh", b"OggS", b"ID3", b"RIFF", b"wOFF")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b"))


def judge(*, head: bytes, filename: str, declared: str) -> str | None:
    """The media type, or None if this is nothing that we take. `head` is the first 8 KiB, or the whole of less."""
    media_type = ACCEPTED.get(extension(filename))
    if media_type is None:
        return None
    named = declared.partition(";")[0].strip().lower()
    if named not in _UNDECLARED and named not in _DECLARED[media_type]:
        return None
    fits = _is_pdf(head) if media_type == PDF else _is_text(head)
    return media_type if fits else None


def _is_pdf(head: bytes) -> bool:
    return b"%PDF-" in head[:1024]


def _is_text(head: bytes) -> bool:
    if head.startswith(b"%PDF-") or _is_other(head):
        return False
    if head.startswith(_WIDE_MARKS) or looks_wide(head):
        return True
    controls = len(head) - len(head.translate(None, _CONTROLS))
    # A stray control character does not make a text a program; one in ten of random bytes is one.
    return controls <= len(head) * (0.05 if is_utf8(head) else 0.01)


def _is_other(head: bytes) -> bool:
    return head.startswith(_OTHER_SIGNATURES) or (head.startswith(_SIGNATURES_IN_LETTERS) and b"\x00" in head)


def looks_wide(head: bytes) -> bool:
    """UTF-16 without its mark: every other byte is zero, as in any text that is mostly Latin."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) / 2
    return half >= 4 and max(even, odd) > 0.7 * half and min(even, odd) < 0.05 * half


def is_utf8(head: bytes) -> bool:
    """Whether a text that begins so is UTF-8, as far as can be seen from here."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut at the end of the head may go through a character.
        return len(head) == HEAD_BYTES and error.start >= len(head) - 3
    return True

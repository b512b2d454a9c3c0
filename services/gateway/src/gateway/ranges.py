"""Byte ranges of a download (RFC 9110, section 14): one at a time."""

import re
from dataclasses import dataclass

_SINGLE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE | re.ASCII)


class UnsatisfiableRange(Exception):
    """No byte of the range exists."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes; the range asked for lies outside of them.")
        self.size = size
        self.headers = {"Content-Range": f"bytes */{size}"}


@dataclass(frozen=True)
class Span:
    """Bytes from `start` up to, not including, `end`, of `size`."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


def span_of(header: str | None, size: int) -> Span | None:
    """What to send: None is the whole file, also for several ranges or a header that is none, as the RFC allows.

    Raises `UnsatisfiableRange`.
    """
    match = _SINGLE.fullmatch(header) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        return _suffix(int(last), size)
    start, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableRange(size)
    return Span(start=start, end=end, size=size)


def _suffix(length: int, size: int) -> Span:
    if length == 0 or size == 0:
        raise UnsatisfiableRange(size)
    return Span(start=max(0, size - length), end=size, size=size)

"""Multipart bodies, pulled part by part: no more of the body is in memory than the piece that came last."""

import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from gateway.filenames import decode

MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 8192

_QUOTED = re.compile(rb'"(?:\\.|[^"\\])*"')
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]*)", re.IGNORECASE)


class MalformedBody(Exception):
    """The body is no multipart form, or ends in the middle."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The body is not a complete multipart form: {reason}.")


@dataclass(frozen=True)
class PartHead:
    """What a part says of itself; `filename` is None for a plain form field."""

    name: str
    filename: str | None
    declared_type: str


@dataclass(frozen=True)
class _Data:
    bytes: bytes


class _End:
    """A part, or the body, is complete."""


_PART_END = _End()
_BODY_END = _End()


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a multipart form; None if this is the type of something else."""
    kind, options = parse_options_header(content_type)
    return options.get(b"boundary", b"") if kind == b"multipart/form-data" else None


class Multipart:
    """The parts of one body, in order. Asking for the next one skips what is unread of the last."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        if not boundary:
            raise MalformedBody("its boundary is missing")
        self._body = body
        self._events: deque[PartHead | _Data | _End] = deque()
        self._headers: list[tuple[bytes, bytes]] = []
        self._field = b""
        self._value = b""
        self._inside = False
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
                max_header_count=MAX_PART_HEADERS,
                max_header_size=MAX_PART_HEADER_BYTES,
            )
        except FormParserError:
            raise MalformedBody("its boundary is too long") from None

    async def next_part(self) -> PartHead | None:
        """The next part's head, or None after the last. Raises `MalformedBody`."""
        while not self._complete:
            event = await self._next_event()
            if isinstance(event, PartHead):
                self._inside = True
                return event
            if event is _BODY_END:
                await self._end()
        return None

    async def data(self) -> AsyncIterator[bytes]:
        """The bytes of the part whose head came last. Raises `MalformedBody` if the body ends before it does."""
        while self._inside:
            event = await self._next_event()
            if isinstance(event, _Data):
                yield event.bytes
            else:
                self._inside = False

    async def _end(self) -> None:
        """Read what may follow the last boundary: a connection with unread bytes cannot be used again."""
        self._complete = True
        async for _ in self._body:
            pass

    async def _next_event(self) -> PartHead | _Data | _End:
        while not self._events:
            await self._feed()
        return self._events.popleft()

    async def _feed(self) -> None:
        piece = await anext(self._body, None)
        if piece is None:
            raise MalformedBody("it ends before its closing boundary")
        try:
            self._parser.write(piece)
        except FormParserError:
            raise MalformedBody("a boundary or a part's headers are broken") from None

    def _on_part_begin(self) -> None:
        self._headers = []

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.append((self._field.strip().lower(), self._value.strip()))
        self._field = self._value = b""

    def _on_headers_finished(self) -> None:
        headers = dict(self._headers)
        disposition = headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition.decode("latin-1"))
        plain = options.get(b"filename")
        self._events.append(
            PartHead(
                name=decode(options.get(b"name", b"")),
                filename=_extended_name(disposition) or (None if plain is None else decode(plain)),
                declared_type=headers.get(b"content-type", b"").decode("latin-1"),
            )
        )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(_Data(data[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(_PART_END)

    def _on_end(self) -> None:
        self._events.append(_BODY_END)


def _extended_name(disposition: bytes) -> str | None:
    """`filename*` of RFC 8187. RFC 7578 forbids it in forms, but .NET sends it, beside a `filename` that is encoded."""
    match = _EXTENDED_NAME.search(_QUOTED.sub(b"", disposition))
    try:
        return unquote_to_bytes(match.group(1)).decode() if match else None
    except UnicodeDecodeError:
        return None

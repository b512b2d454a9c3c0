"""The bytes of a document: to its owner, or to whoever holds a link that was made for it."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from urllib.parse import quote
from uuid import UUID

from chassis.database import Sessions
from chassis.objects import ObjectMissing, ObjectStore
from contracts.documents import RawLink
from contracts.objects import raw_key
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from gateway.documents import find_readable
from gateway.errors import DocumentNotFound, LinkNotFound
from gateway.filetypes import HEAD_BYTES, is_utf8, looks_wide
from gateway.ranges import Span, span_of
from gateway.tables import NOT_DELETING, DocumentRow, OwnerRow, RawLinkRow

LINK_PATH = "/api/raw/"


@dataclass(frozen=True)
class Wanted:
    """What a request says of the bytes it wants."""

    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True)
class Bytes:
    """An answer: 200, 206, or 304 without a body."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes] | None


class ReadRaw:
    """Opens a document's bytes. Raises `DocumentNotFound`, `LinkNotFound` or `UnsatisfiableRange`."""

    def __init__(self, *, reads: Sessions, store: ObjectStore) -> None:
        self._reads = reads
        self._store = store

    async def of_owner(self, owner: UUID, document: UUID, wanted: Wanted) -> Bytes:
        """As a download."""
        async with self._reads() as session:
            row = await find_readable(session, owner, document)
        return await self._open(row, wanted, disposition="attachment")

    async def by_link(self, token: str, wanted: Wanted) -> Bytes:
        """To be shown, while the link lives, the document is not being deleted and the account is open."""
        async with self._reads() as session:
            row = await session.scalar(
                select(DocumentRow)
                .join(RawLinkRow, RawLinkRow.document_id == DocumentRow.id)
                .join(OwnerRow, OwnerRow.id == DocumentRow.owner_id)
                .where(
                    RawLinkRow.token_hash == _hash(token),
                    RawLinkRow.expires_at > func.now(),
                    OwnerRow.closed_at.is_(None),
                    NOT_DELETING,
                )
            )
        if row is None:
            raise LinkNotFound
        return await self._open(row, wanted, disposition="inline")

    async def _open(self, row: DocumentRow, wanted: Wanted, *, disposition: str) -> Bytes:
        tag = f'"{row.sha256}"'
        headers = {
            "ETag": tag,
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if wanted.if_none_match is not None and _matches(wanted.if_none_match, tag):
            return Bytes(304, headers, None)
        fits = wanted.if_range is None or wanted.if_range.strip() == tag
        span = span_of(wanted.range if fits else None, row.size_bytes)
        headers["Content-Type"] = await self._type_of(row)
        headers["Content-Disposition"] = _disposition(disposition, row.filename)
        if span is not None:
            headers["Content-Range"] = span.content_range
        whole = span or Span(start=0, end=row.size_bytes, size=row.size_bytes)
        headers["Content-Length"] = str(whole.length)
        return Bytes(200 if span is None else 206, headers, await self._pieces(row, whole))

    async def _type_of(self, row: DocumentRow) -> str:
        """Of UTF-8 it is said: a browser would take any text without a mark for Windows-1252."""
        if not row.media_type.startswith("text/"):
            return row.media_type
        try:
            head = await self._store.read(raw_key(row.owner_id, row.id), 0, HEAD_BYTES)
        except ObjectMissing:
            raise DocumentNotFound(row.id) from None
        return f"{row.media_type}; charset=utf-8" if is_utf8(head) and not looks_wide(head) else row.media_type

    async def _pieces(self, row: DocumentRow, span: Span) -> AsyncIterator[bytes]:
        """The first piece is read before anything is answered: what is erased meanwhile is a 404, no broken answer."""
        pieces = self._store.open(raw_key(row.owner_id, row.id), start=span.start, end=span.end)
        try:
            first = await anext(pieces, b"")
        except ObjectMissing:
            raise DocumentNotFound(row.id) from None
        return _chained(first, pieces)


class MakeRawLink:
    """Makes links that need no token: an `<a>` or an `<iframe>` cannot send one."""

    def __init__(self, *, sessions: Sessions, life: timedelta) -> None:
        self._sessions = sessions
        self._life = life

    async def __call__(self, owner: UUID, document: UUID) -> RawLink:
        """Raises `DocumentNotFound`. The token is shown this once and kept as a hash."""
        token = secrets.token_urlsafe(32)
        async with self._sessions.begin() as session:
            row = await find_readable(session, owner, document)
            expires_at = await session.scalar(
                insert(RawLinkRow)
                .values(token_hash=_hash(token), document_id=row.id, expires_at=func.now() + self._life)
                .returning(RawLinkRow.expires_at)
            )
        assert expires_at is not None
        return RawLink(url=f"{LINK_PATH}{token}", expires_at=expires_at)


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _matches(header: str, tag: str) -> bool:
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in header.split(","))


def _disposition(kind: str, filename: str) -> str:
    """RFC 6266: a name for old readers, and the real one for all others."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() else "_" for letter in filename)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f"{kind}; filename=\"{escaped}\"; filename*=UTF-8''{quote(filename, safe='')}"


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        if isinstance(rest, AsyncGenerator):
            await rest.aclose()  # a reader that leaves early leaves no open file behind

"""Copying a document's passages from the chunks file, batch by batch, checked against its digest.

A long one's are copied early, while its vectors are being made (docs/decisions/0056).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

import structlog
from chassis.failures import Transient
from chassis.objects import PIECE, ObjectMissing, ObjectStore
from chassis.transactions import Transactions
from contracts.chunks_file import BATCH as ONE_CALL
from contracts.chunks_file import Chunk, ChunksHeader, parse_chunk, parse_header
from contracts.objects import chunks_key
from messaging import fences
from messaging.fences import Fence
from messaging.repeating import repeat_while_away
from pydantic import ValidationError

from qa.active_index import is_searchable_in_active
from qa.orders import CopyOrder
from qa.repository import DocumentVersion, copy_passages, is_copied

log = structlog.stdlib.get_logger(__name__)

# Passages in one transaction: 50 ms, during which the document's fence is locked.
BATCH = 512

# Seconds without the database. A long document takes more of them than lie between two of its troubles: begun anew at
# each, it would never be through.
PATIENCE = 300.0

COPY_EARLY = "copy_passages"
"""The kind of job that does it early."""

WAIT_FIRST, WAIT_LONGEST = 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Copied:
    """A document whose passages are all written, but for the last ones."""

    header: ChunksHeader
    last: list[Chunk]


class CopyPassages:
    """Brings the passages of one version into our own tables."""

    def __init__(self, transactions: Transactions, store: ObjectStore, *, batch: int = BATCH) -> None:
        self._transactions = transactions
        self._store = store
        self._batch = batch

    async def __call__(self, of: DocumentVersion, order: CopyOrder) -> Copied | None:
        """All batches but the last are committed, where nothing shows them yet; None if nobody needs them any more.

        Raises `Transient` if the file is not there, or is not the one that was announced.
        """
        with _trouble_named():
            return await self._copy(of, order, _Lines(_pieces(self._store, _key(of, order))))

    async def rest(self, of: DocumentVersion, order: CopyOrder) -> Copied | None:
        """The same, and what was copied early is not copied again."""
        if not is_worth_copying_early(order.chunk_count) or not await self._is_copied(of, order):
            return await self(of, order)
        with _trouble_named():
            first, _, _ = (await self._store.read(_key(of, order), 0, PIECE)).partition(b"\n")
            return Copied(header=parse_header(first), last=[])

    async def _is_copied(self, of: DocumentVersion, order: CopyOrder) -> bool:
        async with self._transactions.driver() as driver:
            return await is_copied(driver, of, kind=COPY_EARLY, chunks_sha256=order.chunks_sha256)

    async def _copy(self, of: DocumentVersion, order: CopyOrder, lines: "_Lines") -> Copied | None:
        header: ChunksHeader | None = None
        batch: list[Chunk] = []
        count = 0
        async for line in lines:
            if header is None:
                header = parse_header(line)
                continue
            if len(batch) == self._batch:
                if not await self._write(of, batch):
                    return None
                batch = []
            batch.append(parse_chunk(line))
            count += 1
        if header is None or lines.digest != order.chunks_sha256 or count != order.chunk_count:
            raise Transient("processing.chunks_changed", "The text of the document is not the one that was announced.")
        return Copied(header=header, last=batch)

    async def _write(self, of: DocumentVersion, batch: list[Chunk]) -> bool:
        async def transaction() -> bool:
            async with self._transactions.begin() as session:
                fence = await fences.lock(session, of.document)
                if not is_wanted(fence, of.version):
                    return False
                await copy_passages(session, of, batch)
            return True

        return await repeat_while_away(transaction, patience=PATIENCE)


def is_worth_copying_early(chunk_count: int) -> bool:
    """Whether its vectors take more than one call to the model: before that a job more costs more than it saves."""
    return chunk_count > ONE_CALL


def is_wanted(fence: Fence, version: int) -> bool:
    """Whether passages of this version are still to be written."""
    return not fence.is_too_late(version) and fence.outcome_of(version) is None


class ActiveIndexWait:
    """Waits until the active index has a document's vectors: only then may it say that it can be asked about."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def __call__(self, indexes: tuple[str, ...]) -> None:
        """Returns at once, normally; an activation is heard within milliseconds of being said."""
        pause = WAIT_FIRST
        while not await self._is_searchable(indexes):
            if pause >= WAIT_LONGEST:
                log.warning("waiting for an index to be activated", indexes=indexes)
            await asyncio.sleep(pause)
            pause = min(2 * pause, WAIT_LONGEST)

    async def _is_searchable(self, indexes: tuple[str, ...]) -> bool:
        async with self._transactions.driver() as driver:
            return await is_searchable_in_active(driver, indexes)


def _key(of: DocumentVersion, order: CopyOrder) -> str:
    return chunks_key(of.owner, of.document, of.version, order.attempt)


@contextmanager
def _trouble_named() -> Iterator[None]:
    try:
        yield
    except ObjectMissing:
        raise Transient("processing.chunks_missing", "The text of the document is not in its place.") from None
    except ValidationError:
        raise Transient("processing.chunks_unreadable", "The text of the document cannot be read.") from None


class _Lines:
    """The lines of a file that comes in pieces, and the digest of all that came."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._digest = sha256()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = b""
        async for piece in self._pieces:
            self._digest.update(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line
        if rest:
            yield rest


async def _pieces(store: ObjectStore, key: str) -> AsyncIterator[bytes]:
    """The object from its beginning, most of them in one go."""
    first = await store.read(key, 0, PIECE)
    yield first
    if len(first) == PIECE:
        async for piece in store.open(key, start=PIECE):
            yield piece

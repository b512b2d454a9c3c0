"""From the stored file of a document to its stored chunks file."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from uuid import UUID

from chassis.objects import ObjectStore
from contracts.objects import About, about_key, chunks_key, raw_key

from ingest.chunk_files import erase_files
from ingest.extraction import Extracted, Extraction
from ingest.fetching import fetch, fetch_small, stored
from ingest.readers import Readers
from ingest.settings import IngestSettings

SCRATCH_PREFIX = "docqa-ingest-"


@dataclass(frozen=True)
class Attempt:
    """One attempt at one version of a document; what it writes is named after it."""

    owner: UUID
    document: UUID
    version: int
    number: int

    @property
    def chunks_key(self) -> str:
        return chunks_key(self.owner, self.document, self.version, self.number)


@dataclass(frozen=True)
class Split:
    """A document whose chunks file is stored; `packed_rows` (see `chunk_rows`) say where its chunks lie."""

    extracted: Extracted
    packed_rows: bytes


class ParseDocument:
    """Fetches, has it read in a process of its own, stores."""

    def __init__(self, *, store: ObjectStore, readers: Readers, settings: IngestSettings) -> None:
        self._store = store
        self._readers = readers
        self._settings = settings

    async def __call__(self, attempt: Attempt, *, sha256: str) -> Split:
        """Raises `Permanent` if the document is at fault, `Transient` if it may succeed later."""
        with _scratch_folder() as folder:
            wanted = await self._fetch(attempt, folder, sha256)
            extracted = await self._readers.extract(wanted)
            await stored(self._store, attempt.chunks_key, source=wanted.chunks_file)
            rows = await asyncio.to_thread(wanted.rows_file.read_bytes)
        if attempt.number > 1:
            await self._erase_lost_attempts(attempt)
        return Split(extracted, rows)

    async def _fetch(self, attempt: Attempt, folder: Path, sha256: str) -> Extraction:
        about = About.model_validate_json(await fetch_small(self._store, about_key(attempt.owner, attempt.document)))
        wanted = Extraction(
            folder=folder,
            filename=about.filename,
            media_type=about.media_type,
            engine=self._settings.pdf_engine,
            chunk_size=self._settings.chunk_size,
            chunk_overlap=self._settings.chunk_overlap,
            limits=self._settings.limits,
        )
        await fetch(self._store, raw_key(attempt.owner, attempt.document), target=wanted.source, digest=sha256)
        return wanted

    async def _erase_lost_attempts(self, attempt: Attempt) -> None:
        """Earlier attempts can win no more: what a worker that died has left is nobody's."""
        await erase_files(
            self._store,
            attempt.owner,
            attempt.document,
            lambda file: file.version == attempt.version and file.attempt < attempt.number,
        )


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    folder = Path(mkdtemp(prefix=SCRATCH_PREFIX))
    try:
        yield folder
    finally:
        # A reader that is being killed may still be writing.
        rmtree(folder, ignore_errors=True)

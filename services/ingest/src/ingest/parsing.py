"""From the stored file of a document to its stored chunks file."""

from chassis.objects import ObjectStore
from contracts.objects import About, about_key, raw_key

from ingest.attempts import Attempt
from ingest.chunk_files import erase_files
from ingest.extraction import Extracted, Extraction
from ingest.fetching import fetch, fetch_accepted, fetch_small, store_file, store_small
from ingest.notes import read_note
from ingest.readers import Readers
from ingest.scratch import scratch_folder
from ingest.settings import IngestSettings


class ParseDocument:
    """Fetches, has it read, stores."""

    def __init__(self, *, store: ObjectStore, readers: Readers, settings: IngestSettings) -> None:
        self._store = store
        self._readers = readers
        self._settings = settings

    async def __call__(self, attempt: Attempt, *, sha256: str) -> Extracted:
        """Raises `Permanent` if the document is at fault, `Misconfigured` on full disks, `Transient` if it may pass."""
        about = About.model_validate_json(await fetch_small(self._store, about_key(attempt.owner, attempt.document)))
        if self._settings.is_note(about.media_type, about.size_bytes):
            extracted = await self._keep_note(attempt, about, sha256)
        else:
            extracted = await self._have_read(attempt, about, sha256)
        if attempt.number > 1:
            await self._erase_lost_attempts(attempt)
        return extracted

    async def _keep_note(self, attempt: Attempt, about: About, sha256: str) -> Extracted:
        key = raw_key(attempt.owner, attempt.document)
        raw = await fetch_accepted(self._store, key, size=about.size_bytes, digest=sha256)
        note = read_note(raw, filename=about.filename, limits=self._settings.limits)
        await store_small(self._store, attempt.chunks_key, note.content)
        return note.extracted

    async def _have_read(self, attempt: Attempt, about: About, sha256: str) -> Extracted:
        """In a process of its own."""
        with scratch_folder() as folder:
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
            extracted = await self._readers.extract(wanted)
            await store_file(self._store, attempt.chunks_key, source=wanted.chunks_file)
        return extracted

    async def _erase_lost_attempts(self, attempt: Attempt) -> None:
        """Earlier attempts can win no more: what a worker that died has left is nobody's."""
        await erase_files(
            self._store,
            attempt.owner,
            attempt.document,
            lambda file: file.version == attempt.version and file.attempt < attempt.number,
        )

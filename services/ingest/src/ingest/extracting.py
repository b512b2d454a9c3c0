"""From a file to its chunks file: all that happens in the process that reads one document."""

from ingest.chunking import chunked
from ingest.extraction import Extracted, Extraction
from ingest.reading import PDF, TEXT, read_pdf, read_text
from ingest.splitting import Splitter
from ingest.verdicts import Refused, Verdict


def extract(wanted: Extraction) -> None:
    """Read the file and write chunks file and answer into the folder."""
    try:
        answer = _write_chunks(wanted)
    except Refused as refused:
        answer = Extracted(verdict=refused.verdict)
    except (MemoryError, RecursionError):
        answer = Extracted(verdict=Verdict.TOO_COMPLEX)
    wanted.answer_file.write_bytes(answer.to_bytes())


def _write_chunks(wanted: Extraction) -> Extracted:
    split = Splitter(wanted.chunk_size, wanted.chunk_overlap).spans
    found = chunked(_read(wanted), split, filename=wanted.filename)
    wanted.chunks_file.write_bytes(found.content)
    return found.extracted


def _read(wanted: Extraction) -> list[str] | str:
    if wanted.media_type == PDF:
        return read_pdf(wanted.source, wanted.engine, wanted.limits)
    if wanted.media_type in TEXT:
        return read_text(wanted.source.read_bytes(), wanted.limits)
    raise Refused(Verdict.UNSUPPORTED)

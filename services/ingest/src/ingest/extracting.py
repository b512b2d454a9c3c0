"""From a file to its chunks file: all that happens in the process that reads one document."""

from collections.abc import Iterator
from hashlib import sha256

from contracts.chunks_file import Chunk, encode

from ingest.chunk_rows import ChunkRow, pack
from ingest.extraction import Extracted, Extraction
from ingest.reading import PDF, TEXT, read_pdf, read_text
from ingest.splitting import Splitter
from ingest.verdicts import Refused, Verdict


def extract(wanted: Extraction) -> None:
    """Read the file and write chunks file, rows and answer into the folder."""
    try:
        answer = _write_chunks(wanted)
    except Refused as refused:
        answer = Extracted(verdict=refused.verdict)
    except (MemoryError, RecursionError):
        answer = Extracted(verdict=Verdict.TOO_COMPLEX)
    wanted.answer_file.write_text(answer.to_json())


def chunks_of(texts: list[str] | str, splitter: Splitter) -> Iterator[Chunk]:
    """The chunks of a document, page by page; none of them crosses a page. A text file is one text without a page."""
    numbered = [(None, texts)] if isinstance(texts, str) else enumerate(texts, start=1)
    ordinal = 0
    for page, text in numbered:
        for start, end in splitter.spans(text):
            piece = text[start:end]
            digest = sha256(piece.encode()).hexdigest()
            yield Chunk(ordinal=ordinal, page=page, start=start, end=end, text=piece, sha256=digest)
            ordinal += 1


def _write_chunks(wanted: Extraction) -> Extracted:
    texts = _read(wanted)
    chunks = list(chunks_of(texts, Splitter(wanted.chunk_size, wanted.chunk_overlap)))
    pages = None if isinstance(texts, str) else len(texts)
    encoded = encode(chunks, filename=wanted.filename, pages=pages)
    wanted.chunks_file.write_bytes(encoded.content)
    wanted.rows_file.write_bytes(pack(_rows(chunks, encoded.ranges)))
    return Extracted(pages=pages, chunk_count=len(chunks), chunks_sha256=encoded.sha256)


def _read(wanted: Extraction) -> list[str] | str:
    if wanted.media_type == PDF:
        return read_pdf(wanted.source, wanted.engine, wanted.limits)
    if wanted.media_type in TEXT:
        return read_text(wanted.source, wanted.limits)
    raise Refused(Verdict.UNSUPPORTED)


def _rows(chunks: list[Chunk], ranges: tuple[tuple[int, int], ...]) -> Iterator[ChunkRow]:
    for chunk, (byte_start, byte_end) in zip(chunks, ranges, strict=True):
        yield ChunkRow(chunk.page, chunk.start, chunk.end, byte_start, byte_end, bytes.fromhex(chunk.sha256))

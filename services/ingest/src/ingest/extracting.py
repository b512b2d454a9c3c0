"""From a file to its chunks file: all that happens in the process that reads one document."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from contracts.chunks_file import Chunk, encode

from ingest.chunk_rows import ChunkRow, pack
from ingest.limits import Limits
from ingest.reading import PDF, TEXT, Engine, read_pdf, read_text
from ingest.splitting import Splitter
from ingest.verdicts import Refused, Verdict


@dataclass(frozen=True)
class Extraction:
    """What is to be read, and how. `folder` has the file as `raw`, and takes the results."""

    folder: Path
    filename: str
    media_type: str
    engine: Engine
    chunk_size: int
    chunk_overlap: int
    limits: Limits

    @property
    def source(self) -> Path:
        return self.folder / "raw"

    @property
    def chunks_file(self) -> Path:
        return self.folder / "chunks.jsonl"

    @property
    def rows_file(self) -> Path:
        return self.folder / "rows"

    @property
    def answer_file(self) -> Path:
        return self.folder / "answer.json"

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"folder": str(self.folder)})

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        fields = json.loads(line)
        fields["folder"] = Path(fields["folder"])
        fields["engine"] = Engine(fields["engine"])
        fields["limits"] = Limits(**fields["limits"])
        return cls(**fields)


@dataclass(frozen=True)
class Extracted:
    """What came of it, the last thing to be written; or the `verdict` on a document that is refused."""

    pages: int | None = None
    chunk_count: int = 0
    chunks_sha256: str = ""
    verdict: Verdict | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        fields = json.loads(line)
        verdict = fields.pop("verdict")
        return cls(**fields, verdict=None if verdict is None else Verdict(verdict))


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

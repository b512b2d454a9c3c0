"""What goes to the process that reads one document, and what comes back."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ingest.limits import Limits
from ingest.reading import Engine
from ingest.verdicts import Verdict

NO_ROOM = os.EX_CANTCREAT
"""The status with which a reader ends that finds the disk too full for its results."""


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
    def answer_file(self) -> Path:
        return self.folder / "answer"

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
    """What came of it, the last thing to be written; or the `verdict` on a document that is refused.

    `packed_rows` (see `chunk_rows`) say where its chunks lie.
    """

    pages: int | None = None
    chunk_count: int = 0
    chunks_sha256: str = ""
    verdict: Verdict | None = None
    packed_rows: bytes = b""

    def to_bytes(self) -> bytes:
        """A line of JSON, then the rows."""
        fields = {name: value for name, value in vars(self).items() if name != "packed_rows"}
        return json.dumps(fields).encode() + b"\n" + self.packed_rows

    @classmethod
    def from_bytes(cls, written: bytes) -> Self:
        line, packed_rows = written.split(b"\n", 1)
        fields = json.loads(line)
        verdict = fields.pop("verdict")
        return cls(**fields, verdict=None if verdict is None else Verdict(verdict), packed_rows=packed_rows)

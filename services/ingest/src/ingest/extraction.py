"""What goes to the process that reads one document, and what comes back."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ingest.limits import Limits
from ingest.reading import Engine
from ingest.verdicts import Verdict


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

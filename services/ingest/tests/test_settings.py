import pytest
from chassis.settings import load
from ingest.limits import Limits
from ingest.reading import Engine
from ingest.settings import IngestSettings
from pydantic import ValidationError

NEEDED = {
    "DOCQA_INGEST_PORT": "8002",
    "DOCQA_INGEST_DATABASE_URL": "postgresql+asyncpg://ingest:secret@/ingest",
    "DOCQA_KAFKA": "127.0.0.1:9092",
    "DOCQA_AUTH_URL": "http://127.0.0.1:8001",
    "DOCQA_OBJECT_STORE": "file:///tmp/objects",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_what_is_not_said_has_a_default() -> None:
    settings = load(IngestSettings)

    assert settings.pdf_engine is Engine.PDFIUM
    assert (settings.chunk_size, settings.chunk_overlap) == (1000, 150)
    assert settings.limits == Limits(
        max_pages=5000, max_characters=60_000_000, cpu_seconds=60, wall_seconds=180, memory_bytes=1 << 30
    )


def test_pypdf_can_be_the_only_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCQA_INGEST_PDF_ENGINE", "pypdf")

    assert load(IngestSettings).pdf_engine is Engine.PYPDF


@pytest.mark.parametrize(
    ("name", "value"),
    [("PDF_ENGINE", "word"), ("READERS", "0"), ("CHUNK_SIZE", "99"), ("MEMORY_MB", "1"), ("MAX_PAGES", "many")],
)
def test_a_wrong_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(f"DOCQA_INGEST_{name}", value)
    with pytest.raises(SystemExit):
        load(IngestSettings)

    assert f"DOCQA_INGEST_{name}" in capsys.readouterr().err


def test_an_overlap_of_more_than_half_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCQA_INGEST_CHUNK_OVERLAP", "501")

    with pytest.raises(ValidationError, match="at most half"):
        IngestSettings()

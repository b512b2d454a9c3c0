"""What deleted vectors linger in can be removed, and only while nobody uses it."""

from pathlib import Path

import pytest
from docqa.compacting import NothingToCompact, compact
from docqa.data_folder import DataFolder
from docqa.failing import DataFolderUnusable
from rich.console import Console


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("chroma/segment", "postgres", "objects"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "chroma" / "segment" / "data_level0.bin").write_bytes(b"v" * 2_000_000)
    (tmp_path / "objects" / "raw").write_bytes(b"kept")
    return tmp_path


def test_the_files_of_the_index_are_gone_and_all_others_stay(data: Path) -> None:
    console = Console(record=True)
    compact(data, console)
    assert "Removed 2.0 MB" in console.export_text()
    assert not list(data.glob("chroma*"))
    assert (data / "objects" / "raw").read_bytes() == b"kept"
    compact(data, console)
    assert "Removed 0.0 MB" in console.export_text(), "safe to run twice"


def test_what_a_killed_run_left_is_removed_too(data: Path) -> None:
    (data / "chroma").rename(data / "chroma.discarded")
    (data / "chroma").mkdir()
    compact(data, Console(quiet=True))
    assert not list(data.glob("chroma*"))


def test_a_running_stack_keeps_its_index(data: Path) -> None:
    folder = DataFolder.open(data)
    with pytest.raises(DataFolderUnusable, match="another docqa up is using it"):
        compact(data, Console(quiet=True))
    folder.close()
    assert (data / "chroma" / "segment").is_dir()


def test_a_folder_without_docqa_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(NothingToCompact, match="--data"):
        compact(tmp_path, Console(quiet=True))
    assert not list(tmp_path.iterdir())

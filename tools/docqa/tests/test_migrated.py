"""Migrations are run when there are new ones, and only then."""

from pathlib import Path

import pytest
from docqa.migrated import Migrated, fingerprint


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "archive" / "migrations" / "versions"
    folder.mkdir(parents=True)
    (tmp_path / "archive" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_migrations_that_were_run_are_current_until_they_change(versions: Path, tmp_path: Path) -> None:
    (versions / "0001_first.py").write_text("one")
    migrated = Migrated(tmp_path / "migrated.json")
    assert not migrated.is_current("archive")
    migrated.note("archive")
    assert Migrated(tmp_path / "migrated.json").is_current("archive")
    (versions / "0001_first.py").write_text("two")
    assert not migrated.is_current("archive")
    migrated.note("archive")
    (versions / "0002_second.py").write_text("")
    assert not migrated.is_current("archive")


def test_without_migrations_nothing_is_taken_for_current(versions: Path, tmp_path: Path) -> None:
    migrated = Migrated(tmp_path / "migrated.json")
    migrated.note("archive")
    assert not migrated.is_current("archive")
    assert fingerprint("no_such_service") is None


def test_a_file_that_cannot_be_read_says_nothing(versions: Path, tmp_path: Path) -> None:
    (versions / "0001_first.py").write_text("one")
    (tmp_path / "migrated.json").write_text("[")
    assert not Migrated(tmp_path / "migrated.json").is_current("archive")

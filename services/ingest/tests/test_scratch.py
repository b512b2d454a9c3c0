import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from chassis.failures import Failure, Misconfigured, Transient
from ingest import scratch
from ingest.scratch import NoRoom, remove_abandoned_scratch, scratch_folder

LONG_AGO = time.time() - scratch.AGE.total_seconds() - 60


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that only this test uses."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def scratch_of(process: int, folder: Path) -> Path:
    """What a process was reading when it was killed."""
    left = folder / f"{scratch.PREFIX}{process}-abcd"
    left.mkdir()
    (left / "raw").write_bytes(b"what was being read")
    return left


def killed_process() -> int:
    """The number of a process that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_scratch_is_there_while_it_is_used_and_no_longer(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "raw").write_bytes(b"what is being read")
        assert list(temporary.glob(f"{scratch.PREFIX}{os.getpid()}-*")) == [folder]

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("free", "kind"), [(0, Misconfigured), (2**30, Transient)])
@pytest.mark.parametrize("trouble", [NoRoom(), OSError(errno.ENOSPC, "full")], ids=["a reader's", "our own"])
def test_a_full_disk_stops_everybody_only_where_nothing_fits(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: type[Failure], trouble: Exception
) -> None:
    monkeypatch.setattr(scratch, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(kind, match=r"processing\.disk_full"), scratch_folder():
        raise trouble

    assert list(temporary.iterdir()) == []


def test_a_full_disk_is_cleared_of_what_a_killed_process_left(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finds_none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(scratch, "gettempdir", finds_none)  # as `tempfile` does where nothing can be written
    left = scratch_of(killed_process(), temporary)
    remove_abandoned_scratch()

    assert not left.exists()


def test_what_a_killed_process_was_reading_is_removed_at_once(temporary: Path) -> None:
    left = scratch_of(killed_process(), temporary)
    remove_abandoned_scratch()

    assert not left.exists()


def test_what_a_predecessor_with_our_own_number_was_reading_is_removed(temporary: Path) -> None:
    left = scratch_of(os.getpid(), temporary)
    remove_abandoned_scratch()

    assert not left.exists()


def test_what_a_living_process_is_reading_is_left_alone(temporary: Path) -> None:
    reading = scratch_of(os.getppid(), temporary)
    remove_abandoned_scratch()

    assert reading.exists()


@pytest.mark.parametrize("process", ["", "1-"])
def test_what_nobody_can_be_reading_any_more_is_removed_after_a_day(temporary: Path, process: str) -> None:
    left = temporary / f"{scratch.PREFIX}{process}abcd"
    left.mkdir()
    remove_abandoned_scratch()
    assert left.exists()

    os.utime(left, (LONG_AGO, LONG_AGO))
    remove_abandoned_scratch()
    assert not left.exists()


def test_two_that_start_at_once_may_remove_the_same(temporary: Path) -> None:
    vanished = temporary / f"{scratch.PREFIX}abcd"
    vanished.symlink_to(temporary / "nowhere")  # its name is found, and nothing under it
    left = scratch_of(killed_process(), temporary)
    remove_abandoned_scratch()

    assert not left.exists()

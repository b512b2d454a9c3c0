"""`docqa compact`: removes Chroma's files, in which deleted vectors linger; the next start builds the index again.

Neither deleting a vector, nor dropping its collection, nor `chroma vacuum` takes its numbers out of Chroma's files
(seen with 1.5.9). What is still there comes back from the embedder's own table, without a call to any provider.
"""

import shutil
from pathlib import Path

from rich.console import Console

from docqa.data_folder import DataFolder
from docqa.failing import PlainError


class NothingToCompact(PlainError):
    def __init__(self, data: Path) -> None:
        super().__init__(f"There is no docqa in {data}. Say with --data or DOCQA_DATA where it keeps its data.")


def compact(data: Path, console: Console) -> None:
    """Safe to run twice, and to be killed: what was begun is finished the next time.

    Raises `DataFolderUnusable` while docqa runs on the folder, `NothingToCompact` where it never did.
    """
    if not (data / "postgres").is_dir():
        raise NothingToCompact(data)
    folder = DataFolder.open(data)
    try:
        freed = _remove(folder.chroma)
    finally:
        folder.close()
    console.print(
        f"Removed {freed / 1e6:.1f} MB. The index is built again at the next `docqa up`, from the stored vectors.",
        highlight=False,
    )


def _remove(chroma: Path) -> int:
    """Gives the bytes that were freed. Moved aside first: a half removed index must not be mistaken for one."""
    discarded = chroma.with_name("chroma.discarded")
    freed = 0
    for _ in range(2):  # what an earlier, killed run left, then what is there now
        if discarded.is_dir():
            freed += sum(file.stat().st_size for file in discarded.rglob("*") if file.is_file())
            shutil.rmtree(discarded)
        if chroma.is_dir():
            chroma.rename(discarded)
    return freed

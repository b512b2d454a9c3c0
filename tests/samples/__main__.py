"""`python -m tests.samples FOLDER` writes the sample documents there, to be uploaded by hand."""

import sys
from pathlib import Path

from tests.samples.annual_report import annual_report_pdf
from tests.samples.handbook import handbook_pdf

HERE = Path(__file__).parent


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handbook.pdf").write_bytes(handbook_pdf())
    (folder / "annual-report.pdf").write_bytes(annual_report_pdf())
    for name in ("notes.txt", "guide.md"):
        (folder / name).write_bytes((HERE / name).read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

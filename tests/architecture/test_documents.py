"""What the documents point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [page for pattern in ("*.md", "docs/**/*.md", "*/*/README.md") for page in ROOT.glob(pattern)]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_something(page: Path) -> None:
    dead = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not dead


def test_the_readme_is_looked_at() -> None:
    assert ROOT / "README.md" in PAGES
    assert len(LINK.findall((ROOT / "README.md").read_text())) > 10


def test_every_decision_stands_in_the_list_by_its_number_and_title() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (folder / "README.md").read_text(), re.MULTILINE)
    pages = sorted(folder.glob("[0-9]*.md"))

    assert listed == [(page.read_text().splitlines()[0].removeprefix("# "), page.name) for page in pages]
    assert all(int(page.name[:4]) == int(title.split(".")[0]) for page, (title, _) in zip(pages, listed, strict=True))

"""How a package looks: its edges have the same names everywhere, and a module is named for what it knows."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    path for parent in ("libs", "services", "tools") for path in ROOT.glob(f"{parent}/*/src/*/") if path.is_dir()
)
SERVICES = ("auth", "gateway", "ingest", "embedder", "qa")

NAMELESS = {"utils", "util", "common", "helpers", "helper", "base", "manager", "managers", "misc"}

CHORES_THAT_COMMIT = {"housekeeping.py", "tidying.py", "keeping.py"}
"""They call the object store or Chroma in between, and no transaction stays open across that."""


def modules(package: Path) -> Iterator[Path]:
    return (path for path in package.rglob("*.py") if "versions" not in path.parts)


def functions(package: Path) -> Iterator[tuple[str, int]]:
    """Every function's place and the number of its lines, without its docstring."""
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (node.end_lineno or 0) - body[0].lineno + 2 if body else 1
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", length


def test_there_are_packages_to_look_at() -> None:
    assert len(PACKAGES) == 11


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_module_is_named_for_what_it_knows(package: Path) -> None:
    nameless = [
        str(path.relative_to(ROOT))
        for path in [*modules(package), *(folder for folder in package.rglob("*") if folder.is_dir())]
        if path.stem.strip("_") in NAMELESS
    ]

    assert nameless == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_functions_are_short(package: Path) -> None:
    lengths = dict(functions(package))

    assert 3 <= statistics.median(lengths.values()) <= 16
    assert {place: length for place, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("service", SERVICES)
def test_the_edges_have_the_same_names_everywhere(service: str) -> None:
    package = ROOT / "services" / service / "src" / service

    for module in ("main", "settings", "*routes", "subscribers", "tables", "migrate", "migrations/env"):
        assert list(package.glob(f"{module}.py")), module
    assert (package.parents[1] / "alembic.ini").is_file()


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_below_the_edge_commits(service: str) -> None:
    """One transaction, opened and closed by `sessions.begin()`."""
    commits = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules(ROOT / "services" / service / "src" / service)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "commit" and path.name not in CHORES_THAT_COMMIT
    ]

    assert commits == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_says_what_may_be_in_it(package: Path) -> None:
    assert (package.parents[1] / "README.md").is_file()

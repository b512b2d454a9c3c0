"""The flow table tells what the code does: who says each fact, and who hears it."""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from contracts.facts import FACTS
from contracts.flow import FLOW, flow_table

ROOT = Path(__file__).parents[2]
SERVICES = ("auth", "gateway", "ingest", "embedder", "qa")
CLASSES = {fact.__name__: fact_type for fact_type, fact in FACTS.items()}

Says = dict[str, set[str]]


def trees(service: str) -> list[ast.AST]:
    """The code of a service; with that of `libs/stages`, which says facts in its name, where it is a stage."""
    own = _parsed(ROOT / "services" / service / "src")
    is_stage = any(
        isinstance(node, ast.Call) and _name(node.func) == "Stage" for tree in own for node in ast.walk(tree)
    )
    return own + (_parsed(ROOT / "libs" / "stages" / "src") if is_stage else [])


def _parsed(folder: Path) -> list[ast.AST]:
    return [ast.parse(path.read_text()) for path in folder.rglob("*.py")]


def said(tree: ast.AST) -> Iterator[str]:
    """A fact that is made is a fact that is said: whoever hears one gets it from the envelope."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (fact := CLASSES.get(_name(node.func))):
            yield fact


def heard(tree: ast.AST) -> Iterator[str]:
    """The keys of what is handed to a `Subscription`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) == "Subscription":
            for handlers in (part for part in ast.walk(node) if isinstance(part, ast.Dict)):
                yield from (CLASSES[_name(key)] for key in handlers.keys if key is not None)


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
    return ""


def by_fact(found_in: Callable[[ast.AST], Iterator[str]]) -> Says:
    found: Says = defaultdict(set)
    for service in SERVICES:
        for tree in trees(service):
            for fact in found_in(tree):
                found[fact].add(service)
    return found


def test_whoever_the_table_names_says_it_and_nobody_else() -> None:
    assert by_fact(said) == {step.fact.type: set(step.said_by) for step in FLOW}


def test_whoever_the_table_names_hears_it_and_nobody_else() -> None:
    assert by_fact(heard) == {step.fact.type: set(step.heard_by) for step in FLOW}


def test_what_can_wait_to_be_sent_is_only_shown() -> None:
    for step in FLOW:
        if step.fact.can_wait:
            assert set(step.heard_by) == {"gateway"}, step.fact.type


def test_every_fact_has_its_step() -> None:
    assert {step.fact.type for step in FLOW} == set(FACTS)


def test_the_readme_opens_with_this_table() -> None:
    readme = _rows((ROOT / "README.md").read_text())

    for fact, row in _rows(flow_table()).items():
        assert readme.get(fact) == row, fact


def _rows(markdown: str) -> dict[str, str]:
    rows = (line for line in markdown.splitlines() if line.startswith("|"))
    return {found.group(1): row for row in rows if (found := re.search(r"`([a-z]+\.[a-z_]+\.v\d+)`", row))}

"""A plugin for pytest: of a run on real engines, the tests that have to do with one."""

from pathlib import Path

import pytest

PATHS = (
    "libs/messaging/tests",
    "libs/chassis/tests/test_objects.py",
    "libs/chassis/tests/test_chroma.py",
    "services/qa/tests/test_isolation.py",
    "tests/integration",
    "tests/e2e/test_journey.py",
)

WHOLE = {"e2e", "integration"}
"""Folders whose tests all run."""

ENGINES = {"kafka", "s3_endpoint", "store", "chroma"}
"""Fixtures that stand for an engine. What needs a PostgreSQL alone has had a real one in every other run."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if WHOLE & set(Path(item.path).parts) or ENGINES & set(_fixtures(item))]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _fixtures(item: pytest.Item) -> list[str]:
    names: list[str] = getattr(item, "fixturenames", [])
    return names

"""The closed list of metrics, and the page that explains it."""

import re
from pathlib import Path

import pytest
from chassis import metrics
from chassis.metrics import DECLARED
from prometheus_client import REGISTRY

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"

ROW = re.compile(
    r"^\| `(?P<name>docqa_\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<meaning>[^|]+) \|$", re.MULTILINE
)


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    return {
        row["name"]: (row["kind"], tuple(re.findall(r"`(\w+)`", row["labels"])))
        for row in ROW.finditer(PAGE.read_text())
    }


def test_the_page_tells_every_metric_with_its_kind_and_labels_and_no_other() -> None:
    assert documented() == {name: (one.kind, one.labels) for name, one in DECLARED.items()}


def test_the_list_is_closed() -> None:
    ours = {family.name for family in REGISTRY.collect() if family.name.startswith("docqa_")}
    assert ours == {name.removesuffix("_total") for name in DECLARED}


def test_a_name_is_taken_once_and_means_what_it_meant() -> None:
    before = dict(DECLARED)
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.counter("docqa_http_requests", "Again.")
    assert before == DECLARED


def test_no_label_can_be_made_up_by_a_user() -> None:
    labels = {label for one in DECLARED.values() for label in one.labels}

    assert not labels & {"path", "user", "owner", "document", "document_id", "user_id", "request_id", "filename"}

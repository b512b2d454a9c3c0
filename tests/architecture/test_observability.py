"""Alerts and dashboards ask for metrics that there are, by labels that they have; every alert has been played."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chassis.metrics import DECLARED
from chassis.settings import SERVICES

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))

METRIC = re.compile(r"\bdocqa_[a-z_]+")
SELECTED = re.compile(r"\b(docqa_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
ADDED_BY_PROMETHEUS = {"job", "instance", "le"}


def alerts() -> list[dict[str, Any]]:
    read = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))
    return [rule for group in read["groups"] for rule in group["rules"]]


def played() -> list[dict[str, Any]]:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text("utf-8"))["tests"]
    return [check for test in tests for check in test["alert_rule_test"]]


def dashboard(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return read


def queries(path: Path) -> Iterator[str]:
    for panel in dashboard(path)["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def expressions() -> list[str]:
    return [rule["expr"] for rule in alerts()] + [query for path in DASHBOARDS for query in queries(path)]


def declared(metric: str) -> str:
    """The metric itself, of which Prometheus makes three where it is a histogram."""
    name = re.sub(r"_(bucket|count|sum)$", "", metric)
    return name if name in DECLARED and DECLARED[name].kind == "histogram" else metric


def asked_for() -> set[str]:
    return {declared(metric) for expression in expressions() for metric in METRIC.findall(expression)}


def test_every_metric_that_is_asked_for_is_one_of_ours() -> None:
    assert asked_for() - set(DECLARED) == set()


def test_every_metric_of_ours_is_shown() -> None:
    shown = {declared(metric) for path in DASHBOARDS for query in queries(path) for metric in METRIC.findall(query)}

    assert set(DECLARED) - shown == set()


def test_metrics_are_selected_by_labels_that_they_have() -> None:
    wrong = [
        f"{metric}: {label}"
        for expression in expressions()
        for metric, selection in SELECTED.findall(expression)
        for label in re.findall(r"([a-z_]+)\s*[=!]", selection)
        if label not in ADDED_BY_PROMETHEUS | set(DECLARED[declared(metric)].labels)
    ]

    assert wrong == []


def test_what_is_grouped_has_these_labels() -> None:
    wrong = []
    for expression in expressions():
        metrics = [declared(metric) for metric in METRIC.findall(expression)]
        labels = ADDED_BY_PROMETHEUS.union(*(DECLARED[metric].labels for metric in metrics))
        grouped = {label.strip() for group in GROUPED.findall(expression) for label in group.split(",")}
        wrong += [f"{expression}: {label}" for label in grouped - labels]

    assert wrong == []


def test_every_alert_says_who_is_to_come_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


def test_every_alert_has_been_seen_to_fire_and_to_be_silent() -> None:
    """`make test-alerts` plays them."""
    names = {rule["alert"] for rule in alerts()}

    assert {check["alertname"] for check in played() if check["exp_alerts"]} == names
    assert {check["alertname"] for check in played() if not check["exp_alerts"]} == names


def test_prometheus_asks_each_service_and_finds_its_rules() -> None:
    read = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in read["scrape_configs"]}

    assert {name: one["names"] for name, one in found.items()} == {service: [service] for service in SERVICES}
    assert all((PROMETHEUS / file).is_file() for file in read["rule_files"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_reads_from_a_source_that_is_provisioned(path: Path) -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "docqa.yml").read_text("utf-8"))["datasources"]
    uids = {source["uid"]: source["type"] for source in sources}

    for panel in dashboard(path)["panels"]:
        for part in [panel, *panel.get("targets", [])]:
            if "datasource" in part:
                assert uids[part["datasource"]["uid"]] == part["datasource"]["type"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_of_a_dashboard_lies_on_another(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(path)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboards_are_provisioned_from_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "docqa.yml").read_text("utf-8"))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    mounts = dict(mount.split(":")[:2] for mount in compose["grafana"]["volumes"])

    assert mounts["./deploy/grafana/dashboards"] == provider["providers"][0]["options"]["path"]
    assert len({dashboard(path)["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) > 1


def test_the_sources_are_the_containers_that_the_profile_starts() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "docqa.yml").read_text("utf-8"))["datasources"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    hosts = {re.sub(r"^http://([^:]+):\d+$", r"\1", source["url"]) for source in sources}

    assert hosts == {"prometheus", "traces"}
    assert all(compose[host]["profiles"] == ["observability"] for host in hosts)

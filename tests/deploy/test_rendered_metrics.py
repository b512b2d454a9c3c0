"""Prometheus finds every pod that has metrics, and knows it by the name that alerts and dashboards ask for."""

from typing import Any

import pytest
import yaml
from chassis.settings import SERVICES

from tests.deploy.rendering import CHART, Object, Rendered, render

SCRAPING = CHART.parents[1] / "prometheus" / "kubernetes.yml"
LABEL = "__meta_kubernetes_pod_label_"


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render({"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})


def pods(rendered: Rendered) -> dict[str, Object]:
    """The templates of all pods there will be, by the service whose metrics they have, or the migration's name."""
    made = (*rendered.of("Deployment"), *rendered.of("Job"))
    return {each["metadata"]["name"].removeprefix("docqa-"): each["spec"]["template"] for each in made}


def ports(template: Object) -> set[tuple[str, int]]:
    (container,) = template["spec"]["containers"]
    return {(port["name"], port["containerPort"]) for port in container.get("ports", [])}


def scraping() -> dict[str, Any]:
    (read,) = yaml.safe_load(SCRAPING.read_text("utf-8"))["scrape_configs"]
    found: dict[str, Any] = read
    return found


def test_the_operator_finds_every_service_and_knows_it_by_its_name(rendered: Rendered) -> None:
    monitor = rendered.one("PodMonitor", "docqa")
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    read = {
        template["metadata"]["labels"][spec["jobLabel"]]
        for template in pods(rendered).values()
        if spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        and endpoint["port"] in dict(ports(template))
    }

    assert read == set(SERVICES)
    assert endpoint["path"] == "/metrics"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_without_the_operator_they_are_found_and_known_alike(rendered: Rendered) -> None:
    (discovery,) = scraping()["kubernetes_sd_configs"]
    (selector,) = discovery["selectors"]
    rules = {rule["source_labels"][0]: rule for rule in scraping()["relabel_configs"]}
    (component,) = (name for name, rule in rules.items() if rule.get("target_label") == "job")
    (label,) = (
        label
        for label in pods(rendered)["gateway"]["metadata"]["labels"]
        if LABEL + label.translate(str.maketrans("./-", "___")) == component
    )
    kept = rules["__meta_kubernetes_pod_container_port_name"]
    read = {
        template["metadata"]["labels"][label]
        for template in pods(rendered).values()
        if tuple(selector["label"].split("=")) in template["metadata"]["labels"].items()
        and kept["regex"] in dict(ports(template))
    }

    assert kept["action"] == "keep"
    assert read == set(SERVICES)


def test_pods_that_say_so_are_read_at_the_port_where_they_listen(rendered: Rendered) -> None:
    for name in SERVICES:
        template = pods(rendered)[name]
        said = template["metadata"]["annotations"]
        assert said["prometheus.io/scrape"] == "true"
        assert ("http", int(said["prometheus.io/port"])) in ports(template)

    migrations = [template for name, template in pods(rendered).items() if name.endswith("-migrate")]
    assert len(migrations) == len(SERVICES)
    assert not any("prometheus.io/scrape" in each["metadata"].get("annotations", {}) for each in migrations)


def test_nobody_needs_the_operator() -> None:
    assert not render().of("PodMonitor")

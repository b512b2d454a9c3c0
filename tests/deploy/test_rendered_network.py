"""Who may speak to whom."""

from collections.abc import Iterator
from typing import Any

import pytest
from chassis.settings import SERVICES

from tests.deploy.rendering import Object, Rendered, render

DATABASE, BROKER, STORE, CHROMA, TLS, COLLECTOR = 5432, 9092, 9000, 8000, 443, 4318

SPEAKS_TO = {
    "gateway": {"auth", "ingest", "qa"},
    "auth": set[str](),
    "ingest": {"auth"},
    "embedder": set[str](),
    "qa": {"auth"},
}
"""Every service checks tokens with auth's public keys, if it is asked by people at all."""


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render()


def policy(rendered: Rendered, service: str) -> Object:
    spec: Object = rendered.one("NetworkPolicy", f"docqa-{service}")["spec"]
    return spec


def ours(rule: Object, side: str) -> Iterator[str]:
    """The services among a rule's peers."""
    for peer in rule.get(side, []):
        labels = peer.get("podSelector", {}).get("matchLabels", {})
        if "app.kubernetes.io/component" in labels:
            yield labels["app.kubernetes.io/component"]


def engine_ports(rendered: Rendered, service: str) -> set[int]:
    rules = [rule for rule in policy(rendered, service)["egress"] if not list(ours(rule, "to"))]
    return {port["port"] for rule in rules for port in rule["ports"]} - {53}


def test_nobody_speaks_to_anybody_unless_it_is_said(rendered: Rendered) -> None:
    deny = rendered.one("NetworkPolicy", "docqa-deny")["spec"]

    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    for name, labels in _pod_labels(rendered):
        assert deny["podSelector"]["matchLabels"].items() <= labels.items(), name


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_speaks_to_those_whom_it_needs_and_they_listen(rendered: Rendered, service: str) -> None:
    told = {name for rule in policy(rendered, service)["egress"] for name in ours(rule, "to")}
    heard = {
        other for other in SERVICES for rule in policy(rendered, other)["ingress"] if service in ours(rule, "from")
    }

    assert told == heard == SPEAKS_TO[service]


def test_only_the_gateway_is_open(rendered: Rendered) -> None:
    unbounded = {name for name in SERVICES if any("from" not in rule for rule in policy(rendered, name)["ingress"])}

    assert unbounded == {"gateway"}


def test_each_reaches_its_own_engines(rendered: Rendered) -> None:
    assert {name: engine_ports(rendered, name) for name in SERVICES} == {
        "gateway": {DATABASE, BROKER, STORE},
        "auth": {DATABASE, BROKER},
        "ingest": {DATABASE, BROKER, STORE},
        "embedder": {DATABASE, BROKER, STORE, CHROMA},
        "qa": {DATABASE, BROKER, STORE, CHROMA},
    }


@pytest.mark.parametrize(
    ("models", "asking"),
    [
        ({"chat": "openai:gpt-4.1-mini"}, {"qa"}),
        ({"embedding": "openai:text-embedding-3-small"}, {"embedder", "qa"}),
    ],
)
def test_providers_are_reached_by_those_who_ask_them(models: dict[str, str], asking: set[str]) -> None:
    rendered = render({"models": models, "secrets": {"openaiApiKey": "sk"}})
    found = {name for name in SERVICES if TLS in engine_ports(rendered, name)}
    rules = [rule for rule in policy(rendered, "qa")["egress"] if {"protocol": "TCP", "port": TLS} in rule["ports"]]

    assert found == asking
    assert "169.254.0.0/16" in rules[0]["to"][0]["ipBlock"]["except"]


def test_ports_are_those_of_the_addresses() -> None:
    rendered = render(
        {
            "kafka": {"bootstrapServers": "a:9094, b:9095"},
            "postgres": {"port": 6432},
            "s3": {"endpoint": "s3.example.org", "tls": True},
            "chroma": {"url": "https://chroma.example.org"},
            "models": {"chat": "openai:qwen3", "openaiBaseUrl": "http://vllm:8001/v1"},
            "settings": {"DOCQA_OTLP_ENDPOINT": "http://collector:4318"},
            "services": {"qa": {"database": {"host": "other", "port": 7432}}},
        }
    )

    assert engine_ports(rendered, "qa") == {9094, 9095, 7432, 443, 8001, COLLECTOR}
    assert engine_ports(rendered, "auth") == {9094, 9095, 6432, COLLECTOR}
    assert engine_ports(rendered, "migrate") == {6432, 7432}


def test_ports_can_be_those_of_the_pods_behind_a_service() -> None:
    rendered = render(
        {
            "models": {"embedding": "openai:qwen3", "openaiBaseUrl": "http://vllm/v1"},
            "settings": {"DOCQA_OTLP_ENDPOINT": "http://collector:4318"},
            "networkPolicy": {
                "kafka": {"ports": [9092, 9093]},
                "postgres": {"ports": [6432]},
                "s3": {"ports": [9001]},
                "chroma": {"ports": [8002]},
                "telemetry": {"ports": [14318]},
                "providers": {"ports": [8003]},
            },
        }
    )

    assert engine_ports(rendered, "embedder") == {9092, 9093, 6432, 9001, 8002, 14318, 8003}
    assert engine_ports(rendered, "migrate") == {6432}


def test_a_service_with_a_collector_of_its_own_reaches_it() -> None:
    settings = {"DOCQA_QA_OTLP_ENDPOINT": "http://collector:14318"}
    rendered = render(
        {
            "settings": {"DOCQA_OTLP_ENDPOINT": "http://collector:4318"},
            "services": {"qa": {"settings": settings}},
        }
    )
    alone = render({"services": {"qa": {"settings": settings}}})

    assert 14318 in engine_ports(rendered, "qa") & engine_ports(alone, "qa")
    assert COLLECTOR not in engine_ports(rendered, "qa")
    assert COLLECTOR in engine_ports(rendered, "auth")
    assert not {COLLECTOR, 14318} & engine_ports(alone, "auth")


def test_a_migration_may_speak_before_everything_else_is_there(rendered: Rendered) -> None:
    made = rendered.one("NetworkPolicy", "docqa-migrate")
    annotations = made["metadata"]["annotations"]
    labels = {name: labels for name, labels in _pod_labels(rendered) if name.endswith("-migrate")}

    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(annotations["helm.sh/hook-weight"]) < 0
    assert len(labels) == len(SERVICES)
    assert all(made["spec"]["podSelector"]["matchLabels"].items() <= each.items() for each in labels.values())


def _pod_labels(rendered: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in (*rendered.of("Deployment"), *rendered.of("Job")):
        yield each["metadata"]["name"], each["spec"]["template"]["metadata"]["labels"]

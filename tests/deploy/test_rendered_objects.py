"""What the chart makes is what Kubernetes knows, and is as confined as we say."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from chassis.settings import SERVICES

from tests.deploy.rendering import CHART, EXAMPLES, Object, Refused, Rendered, helm, render

OLDEST = "1.28"
NEWEST = kubernetes_validate.latest_version()

OF_OTHERS = ("keda.sh/", "monitoring.coreos.com/")
"""Kinds that are no part of Kubernetes."""

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    **{file.stem: {"file": file} for file in EXAMPLES},
    "without KEDA": {"values": {"keda": {"enabled": False}}},
    "without scaling": {"values": {"services": {name: {"autoscaling": {"enabled": False}} for name in SERVICES}}},
    "without policies": {"values": {"networkPolicy": {"enabled": False}, "migrations": {"enabled": False}}},
}

KAFKA_USER = {"kafkaUsername": "docqa", "kafkaPassword": "secret"}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    files: list[Path] = [request.param["file"]] if "file" in request.param else []
    return render(request.param.get("values"), *files)


@pytest.fixture(scope="module")
def defaults() -> Rendered:
    return render()


@pytest.mark.parametrize("file", [None, *EXAMPLES], ids=lambda file: file.name if file else "defaults")
def test_helm_finds_nothing_to_complain_about(file: Path | None) -> None:
    helm("lint", "--strict", str(CHART), *(["--values", str(file)] if file else []))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(rendered: Rendered, version: str) -> None:
    for each in rendered.objects:
        if not each["apiVersion"].startswith(OF_OTHERS):
            kubernetes_validate.validate(each, version, strict=True)


def test_no_name_is_used_twice(rendered: Rendered) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered.objects]
    assert len(names) == len(set(names))


def test_no_pod_may_do_more_than_it_must(rendered: Rendered) -> None:
    for name, spec in rendered.pod_specs():
        (container,) = spec["containers"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert writable == [{"name": "scratch", "mountPath": "/tmp"}]
        assert {*container["resources"]["requests"]} == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_the_user_is_the_one_of_the_images(defaults: Rendered) -> None:
    assert "10001" in (CHART.parents[2] / "Dockerfile").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_asked_how_it_is_and_has_time_to_stop(defaults: Rendered, service: str) -> None:
    spec = defaults.one("Deployment", f"docqa-{service}")["spec"]["template"]["spec"]
    (container,) = spec["containers"]

    assert (
        container["startupProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    )
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert spec["terminationGracePeriodSeconds"] > 30 + 5
    assert {each["topologyKey"] for each in spec["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_can_be_drained(defaults: Rendered, service: str) -> None:
    budget = defaults.one("PodDisruptionBudget", f"docqa-{service}")["spec"]
    pods = defaults.one("Deployment", f"docqa-{service}")["spec"]["template"]["metadata"]["labels"]

    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= pods.items()


@pytest.mark.parametrize("service", SERVICES)
def test_a_changed_setting_makes_new_pods_of_the_service_alone(defaults: Rendered, service: str) -> None:
    changed = render({"services": {service: {"settings": {f"DOCQA_{service.upper()}_LOG_LEVEL": "debug"}}}})

    assert {name for name in SERVICES if _template(changed, name) != _template(defaults, name)} == {service}


def test_a_changed_password_makes_new_pods_of_the_service_alone(defaults: Rendered) -> None:
    changed = render({"services": {"qa": {"database": {"password": "another"}}}})

    assert {name for name in SERVICES if _template(changed, name) != _template(defaults, name)} == {"qa"}


def test_who_scales_them_is_none_of_the_pods_business(defaults: Rendered) -> None:
    changed = render({"keda": {"enabled": False}})

    assert all(_template(changed, name) == _template(defaults, name) for name in SERVICES)


def test_whoever_scales_a_deployment_is_not_contradicted(rendered: Rendered) -> None:
    scaled = [
        each["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for each in rendered.of(kind)
    ]
    fixed = [each["metadata"]["name"] for each in rendered.of("Deployment") if "replicas" in each["spec"]]

    assert sorted(scaled + fixed) == sorted(each["metadata"]["name"] for each in rendered.of("Deployment"))


def test_without_keda_the_two_are_scaled_on_processor_time() -> None:
    rendered = render({"keda": {"enabled": False}})

    assert not rendered.of("ScaledObject") + rendered.of("TriggerAuthentication")
    assert {"docqa-ingest", "docqa-embedder"} <= rendered.names("HorizontalPodAutoscaler")


def test_a_migration_needs_nothing_that_the_chart_makes_later(rendered: Rendered) -> None:
    for job in rendered.of("Job"):
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]:
            name = variable["valueFrom"]["secretKeyRef"]["name"]
            made = [each for each in rendered.of("Secret") if each["metadata"]["name"] == name]
            assert all(_weight(each) < _weight(job) for each in made)


def test_another_release_has_other_names() -> None:
    defaults, other = render(), render(release="second")
    for kind in ("Deployment", "Service", "Secret", "ConfigMap", "Job", "NetworkPolicy", "ScaledObject"):
        assert not defaults.names(kind) & other.names(kind)


def test_the_ingress_shows_the_api_and_not_what_machines_ask() -> None:
    rendered = render({"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "certificate"}})
    (ingress,) = rendered.of("Ingress")
    paths = {each["path"]: each["pathType"] for each in ingress["spec"]["rules"][0]["http"]["paths"]}

    assert paths["/api"] == "Prefix"
    assert not {"/metrics", "/health", "/internal"} & set(paths)
    assert paths["/"] == "Exact"
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"services": {"qa": {"autoscaling": {"minReplicas": 20}}}}, "minReplicas is greater than maxReplicas"),
        ({"services": {"qa": {"database": {"name": "ingest"}}}}, "the same database"),
        ({"models": {"chat": "openai:gpt-4.1-mini"}}, "neither a key nor a base URL"),
        ({"secrets": {"existingSecret": "given", "s3AccessKey": "key"}}, "s3AccessKey is never read"),
        (
            {"secrets": {"existingSecret": "given"}, "services": {"qa": {"database": {"password": "p"}}}},
            "password is never read",
        ),
        ({"kafka": {"security": "SASL_SSL"}, "secrets": KAFKA_USER}, "kafka.saslMechanism is missing"),
        ({"kafka": {"security": "SASL_SSL", "saslMechanism": "PLAIN"}}, "kafkaUsername and secrets.kafkaPassword are"),
        ({"kafka": {"security": "SSL"}, "secrets": KAFKA_USER}, "secrets.kafkaPassword would never be used"),
        ({"kafka": {"caSecret": "kafka-ca"}}, "kafka.caSecret would never be used"),
        ({"services": {"gateway": {"replicas": -1}}}, "minimum"),
        ({"gateway": {"replicas": 2}}, "gateway"),
    ],
)
def test_helm_refuses_what_contradicts_itself(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        render(values)


@pytest.mark.parametrize("release", ["2nd-docqa", "docqa.staging"])
def test_a_release_whose_services_kubernetes_would_refuse_is_refused_before_anything_is_migrated(release: str) -> None:
    with pytest.raises(Refused, match=f"no Service may be named {release}-gateway"):
        render(release=release)

    assert render({"fullnameOverride": "docqa-second"}, release=release).one("Service", "docqa-second-gateway")


def _template(rendered: Rendered, service: str) -> Object:
    template: Object = rendered.one("Deployment", f"docqa-{service}")["spec"]["template"]
    return template


def _weight(hook: Object) -> int:
    return int(hook["metadata"]["annotations"]["helm.sh/hook-weight"])

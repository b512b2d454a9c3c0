"""The chart as Helm renders it."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HELM = "DOCQA_TEST_HELM"
"""Names the helm program; without it there is nothing to render with."""

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "docqa"
EXAMPLES = sorted((CHART / "ci").glob("*.yaml"))

Object = dict[str, Any]
Values = Mapping[str, Any]


class Refused(Exception):
    """Helm did not render; the message is what it said."""


@dataclass(frozen=True)
class Rendered:
    """What would be sent to the API server."""

    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        (found,) = (each for each in self.of(kind) if each["metadata"]["name"] == name)
        return found

    def names(self, kind: str) -> set[str]:
        return {each["metadata"]["name"] for each in self.of(kind)}

    def pod_specs(self) -> Iterator[tuple[str, Object]]:
        """Every pod there will be, services and migrations, by the name of what makes it."""
        for each in (*self.of("Deployment"), *self.of("Job")):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]

    def environment(self, spec: Object, secrets: Mapping[str, str] | None = None) -> dict[str, str]:
        """What the container of a pod finds in its environment; `secrets` are those that the chart does not make."""
        (container,) = spec["containers"]
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container.get("env", []):
            reference = variable["valueFrom"]["secretKeyRef"]
            value = (self._secret(reference["name"]) if secrets is None else secrets).get(reference["key"])
            if value is not None:
                found[variable["name"]] = value
            else:
                assert reference.get("optional"), f"no container starts without {reference['key']}"
        return found

    def _secret(self, name: str) -> dict[str, str]:
        secret = self.one("Secret", name)
        encoded = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
        return {**encoded, **secret.get("stringData", {})}


def render(values: Values | None = None, *files: Path, release: str = "docqa") -> Rendered:
    """Raises `Refused` where Helm does."""
    return _rendered(json.dumps(values or {}), files, release)


@cache
def _rendered(values: str, files: tuple[Path, ...], release: str) -> Rendered:
    told = [word for file in files for word in ("--values", str(file))]
    said = helm("template", release, str(CHART), *told, "--values", "-", values=json.loads(values))
    return Rendered([each for each in yaml.load_all(said, Loader=yaml.CSafeLoader) if each])


def helm(*words: str, values: Values | None = None) -> str:
    """What helm says. It sees no cluster, and no configuration of whoever runs this."""
    ended = subprocess.run(
        [os.environ[HELM], *words],
        env={"PATH": os.defpath, "HOME": "/nonexistent", "KUBECONFIG": os.devnull},
        input=yaml.safe_dump(dict(values or {})),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ended.returncode:
        raise Refused(ended.stderr + ended.stdout)
    return ended.stdout

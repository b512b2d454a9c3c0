"""Plays the alerts: `promtool test rules`, with the promtool on the PATH or the one in Prometheus's image."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
THERE = "/rules"

CHECKS = (
    ("check", "config", "prometheus.yml"),
    ("check", "config", "kubernetes.yml"),
    ("check", "rules", "alerts.yml"),
    ("test", "rules", "alerts_test.yml"),
)


def main() -> int:
    found = _promtool()
    if found is None:
        sys.stderr.write(
            f"!! NOT TESTED: the alerts of {RULES.relative_to(ROOT)}, there is neither a promtool "
            f"(Debian has it in the package prometheus) nor a Docker engine with the image {image()}.\n"
        )
        return 0
    command, folder = found
    return max(
        subprocess.run([*command, verb, what, f"{folder}/{file}"], check=False).returncode
        for verb, what, file in CHECKS
    )


def image() -> str:
    """The Prometheus that docker-compose.yml starts."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    return str(services["prometheus"]["image"])


def _promtool() -> tuple[Sequence[str], str] | None:
    """The command, and the folder of the rules as it sees them; nothing is pulled unasked."""
    if found := shutil.which("promtool"):
        return [found], str(RULES)
    docker = shutil.which("docker")
    if docker and _answers([docker, "image", "inspect", image()]):
        mount = f"{RULES}:{THERE}:ro"
        return [docker, "run", "--rm", "--network=none", "-v", mount, "--entrypoint=promtool", image()], THERE
    return None


def _answers(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())

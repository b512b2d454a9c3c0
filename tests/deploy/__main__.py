"""Runs the tests of the Helm chart with the Helm that `DOCQA_TEST_HELM` names or one that is built once."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.deploy.rendering import HELM
from tests.engines import publications
from tests.engines.missing import EngineMissing

HERE = Path(__file__).parent
VALUES = str(HERE / "test_values.py")
RENDERED = [str(path) for path in sorted(HERE.glob("test_rendered_*.py"))]


def main(words: list[str]) -> int:
    try:
        helm = os.environ.get(HELM) or str(asyncio.run(publications.helm_program()))
    except EngineMissing as missing:
        code = _pytest([VALUES])
        sys.stderr.write(f"!! NOT TESTED: the chart as Helm renders it. {missing}.\n")
        return code
    return _pytest(words or [VALUES, *RENDERED], **{HELM: helm})


def _pytest(words: list[str], **told: str) -> int:
    command = [sys.executable, "-m", "pytest", *words]
    return subprocess.run(command, env={**os.environ, **told}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

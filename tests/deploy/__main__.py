"""Runs the tests of the Helm chart, with the Helm that `DOCQA_TEST_HELM` names or one that is built once."""

import asyncio
import os
import subprocess
import sys

from tests.deploy.rendering import HELM
from tests.engines import publications
from tests.engines.missing import EngineMissing


def main(words: list[str]) -> int:
    try:
        helm = os.environ.get(HELM) or str(asyncio.run(publications.helm_program()))
    except EngineMissing as missing:
        code = _pytest(words)
        sys.stderr.write(f"!! NOT TESTED: the chart as Helm renders it, {missing.reason}.\n")
        return code
    return _pytest(words, **{HELM: helm})


def _pytest(words: list[str], **told: str) -> int:
    command = [sys.executable, "-m", "pytest", *(words or ["tests/deploy"])]
    return subprocess.run(command, env={**os.environ, **told}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

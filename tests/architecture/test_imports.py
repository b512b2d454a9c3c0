"""Who imports whom, and what a process never loads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NEEDED_BY_FEW = {
    "langchain": set[str](),
    "langchain_core": {"ingest"},
    "langchain_text_splitters": {"ingest"},
    "chromadb": set[str](),
    "httpx": set[str](),  # the providers' libraries load it with the first call
    "aiohttp": {"gateway", "ingest", "embedder", "qa"},
    "numpy": {"qa", "embedder"},
    "onnxruntime": set[str](),  # loaded with the local model, and not before
    "tokenizers": set[str](),
    "langchain_openai": set[str](),
    "langchain_google_genai": set[str](),
    "openai": set[str](),
    "google.genai": set[str](),
    "tiktoken": set[str](),
    "torch": set[str](),
    "sentence_transformers": set[str](),
    "pypdf": set[str](),  # loaded in the processes that parse
    "pypdfium2": set[str](),
    "minio": {"gateway", "ingest", "embedder", "qa"},
    "argon2": {"auth"},
    "pwdlib": {"auth"},
    "moto": set[str](),
    "docqa": set[str](),
    "alembic": set[str](),  # loaded by what migrates
    "mako": set[str](),
    "rich": set[str](),  # for terminals, see chassis.leaving_out
    "pygments": set[str](),
    "opentelemetry.sdk": set[str](),  # loaded where spans have somewhere to go
}
"""What weighs something, and which services may have it loaded when they start."""


def test_imports_keep_their_direction() -> None:
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("service", ["auth", "gateway", "ingest", "embedder", "qa"])
def test_a_service_loads_only_what_it_uses(service: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, json, {service}.main; print(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(json.loads(loaded.stdout))

    others = {"auth", "gateway", "ingest", "embedder", "qa"} - {service}
    unwanted = {name for name, users in NEEDED_BY_FEW.items() if service not in users} | others
    assert modules & unwanted == set()

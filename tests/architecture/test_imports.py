"""Who imports whom, and what a process never loads."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from docqa.embedded.preloaded import SHARED

ROOT = Path(__file__).parents[2]

NEEDED_BY_FEW = {
    "langchain": set[str](),
    "langchain_core": {"ingest"},
    "langchain_text_splitters": {"ingest"},
    "chromadb": set[str](),
    "httpx": set[str](),  # the providers' libraries load it
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

SERVICES = ("auth", "gateway", "ingest", "embedder", "qa")
LOADED_LATER = ("uvloop", "concurrent.futures.")
"""By every service, but only when it serves."""

MOST = 4
"""Of them. What fewer load would weigh on the others where they are forked from one process."""


def test_imports_keep_their_direction() -> None:
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What is loaded when a service has started, by its name."""
    return {service: _loaded_by(f"{service}.main") for service in SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_loads_only_what_it_uses(service: str, loaded: dict[str, set[str]]) -> None:
    others = set(SERVICES) - {service}
    unwanted = {name for name, users in NEEDED_BY_FEW.items() if service not in users} | others
    assert loaded[service] & unwanted == set()


def test_models_of_openais_are_called_without_the_weight_of_langchain() -> None:
    weight = {"langchain_core", "langchain_openai", "langsmith", "requests", "tiktoken"}
    assert _loaded_by("models.openai_calls") & (weight | {"openai"}) == {"openai"}


def test_what_is_shared_is_what_most_services_load(loaded: dict[str, set[str]]) -> None:
    shared = _loaded_by(*SHARED)
    users = Counter(module for service in SERVICES for module in loaded[service])

    needed_by_few = {module for module in shared if users[module] < MOST}
    assert {module for module in needed_by_few if not module.startswith(LOADED_LATER)} == set()
    assert len(shared) > 0.9 * min(len(modules) for modules in loaded.values())


def test_nothing_that_is_shared_starts_a_thread() -> None:
    looked = "import os, sys; print(len(os.listdir('/proc/self/task')))"
    threads = _told_after(SHARED, looked)
    assert int(threads) == 1


def _loaded_by(*modules: str) -> set[str]:
    return set(json.loads(_told_after(modules, "import sys, json; print(json.dumps(list(sys.modules)))")))


def _told_after(modules: Iterable[str], program: str) -> str:
    imports = "".join(f"import {module}\n" for module in modules)
    told = subprocess.run([sys.executable, "-c", imports + program], capture_output=True, text=True, check=True)
    return told.stdout

""".env.example tells every setting, and what is written elsewhere about settings is true."""

import re
import subprocess
from pathlib import Path

import pytest
from chassis.settings import SERVICES, SHARED_NAMES, TOOL_NAMES, TOOL_PREFIXES, known_names
from docqa import env_example

ROOT = Path(__file__).parents[2]

NAME = re.compile(r"\bDOCQA_[A-Z0-9_]*[A-Z0-9]\b")

PLACES = ("*.md", "Makefile", "Dockerfile", "docker-compose*.yml", ".env.example", ".ci/*", "deploy/*")


def test_the_file_is_what_the_settings_say() -> None:
    """If this fails: python -m docqa.env_example"""
    assert (ROOT / env_example.FILE).read_text("utf-8") == env_example.text()


def test_every_name_that_is_not_a_services_own_is_declared_as_shared() -> None:
    assert set(env_example.shared_fields()) == SHARED_NAMES
    for service in SERVICES:
        assert all(name.startswith(f"DOCQA_{service.upper()}_") for name in env_example.own_fields(service))


def test_the_tools_names_are_those_that_services_let_pass() -> None:
    assert set(env_example.TOOLS) == TOOL_NAMES


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_says_what_it_is(service: str) -> None:
    fields = env_example.settings_of(service).model_fields

    assert [name for name, info in fields.items() if not (info.description or "").strip()] == []


def test_no_page_names_a_setting_that_is_none() -> None:
    known = TOOL_NAMES.union(*(known_names(env_example.settings_of(service)) for service in SERVICES))
    listed = subprocess.run(["git", "ls-files", "-z", *PLACES], cwd=ROOT, capture_output=True, text=True, check=True)
    wrong = {
        f"{path}: {name}"
        for path in listed.stdout.split("\0")
        if path and (ROOT / path).is_file()
        for name in NAME.findall((ROOT / path).read_text("utf-8", errors="ignore"))
        if name not in known and not name.startswith(TOOL_PREFIXES)
    }

    assert wrong == set()

"""The runbook has a section for every alert, and none for one that is gone."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")


def test_every_alert_is_explained() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    sections = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)

    assert set(sections) - {"Without an alert"} == alerts

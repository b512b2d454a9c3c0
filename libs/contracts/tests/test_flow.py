"""The flow names every fact once, and is the table that readers see."""

from contracts.facts import FACTS, DocumentReady
from contracts.flow import FLOW, flow_table


def test_every_fact_has_its_step() -> None:
    assert [step.fact.type for step in FLOW] == list(FACTS)


def test_the_table_tells_who_says_and_hears_a_fact() -> None:
    assert f"| it can be asked about | `{DocumentReady.type}` | qa → gateway, ingest, embedder |" in flow_table()

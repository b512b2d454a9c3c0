"""What other teams read is what the code says, and a change that breaks them is noticed."""

import json
from pathlib import Path
from typing import Annotated

import pytest
from contracts.compatibility import breaks
from contracts.envelope import Envelope
from contracts.facts import FACTS, DocumentChunked, DocumentFact
from contracts.publishing import BreakingChange, asyncapi, publish, refuse_breaking, schema_of
from jsonschema import Draft202012Validator
from pydantic import Field

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("fact_type", FACTS)
def test_a_committed_schema_is_the_one_of_the_code(fact_type: str) -> None:
    committed = json.loads((ROOT / "schemas" / f"{fact_type}.json").read_text())
    assert committed == schema_of(FACTS[fact_type]), "run `make contracts`"


@pytest.mark.parametrize("fact_type", FACTS)
def test_every_published_example_can_still_be_read(fact_type: str) -> None:
    published = (ROOT / "examples" / f"{fact_type}.json").read_bytes()
    fact = Envelope.parse(published).fact()
    assert fact.type == fact_type
    Draft202012Validator(schema_of(type(fact))).validate(json.loads(published)["data"])


def test_no_published_fact_is_forgotten() -> None:
    assert {path.stem for path in (ROOT / "schemas").iterdir()} == set(FACTS)
    assert {path.stem for path in (ROOT / "examples").iterdir()} == set(FACTS)


def test_the_asyncapi_document_is_the_one_of_the_code() -> None:
    assert json.loads((ROOT / "asyncapi.json").read_text()) == asyncapi(), "run `make contracts`"


def test_publishing_twice_changes_nothing(tmp_path: Path) -> None:
    publish(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    publish(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before


class _WithoutAField(DocumentFact):
    """chunked.v1 as somebody might carelessly change it."""

    type = DocumentChunked.type
    chunk_count: int
    pages: int | None


class _WithARequiredField(DocumentChunked):
    """The same with something that older records do not have."""

    language: str


class _WithANarrowerField(DocumentChunked):
    """The same with a bound that older records may be beyond."""

    chunk_count: Annotated[int, Field(ge=1)]


class _WithAnOptionalField(DocumentChunked):
    """The one way to grow."""

    language: str | None = None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (_WithoutAField, "chunks_sha256 is gone"),
        (_WithARequiredField, "language is required"),
        (_WithANarrowerField, "chunk_count changed its minimum"),
    ],
)
def test_a_change_that_breaks_a_reader_is_refused(changed: type[DocumentFact], reason: str) -> None:
    with pytest.raises(BreakingChange, match=reason):
        refuse_breaking(ROOT, DocumentChunked.type, schema_of(changed))


def test_an_optional_field_breaks_nobody() -> None:
    refuse_breaking(ROOT, DocumentChunked.type, schema_of(_WithAnOptionalField))


def test_a_field_that_may_be_missing_from_now_on_breaks_its_readers() -> None:
    field = {"type": "string"}
    old = {"properties": {"code": field}, "required": ["code"]}
    assert breaks(old, {"properties": {"code": field}}) == ["code is no longer always there"]


def test_a_reference_is_compared_by_what_it_names() -> None:
    old = {"properties": {"stage": {"$ref": "#/$defs/Stage"}}, "$defs": {"Stage": {"enum": ["ingest"]}}}
    new = {"properties": {"stage": {"$ref": "#/$defs/Stage"}}, "$defs": {"Stage": {"enum": ["ingest", "qa"]}}}
    assert breaks(old, new) == ["stage changed its enum"]

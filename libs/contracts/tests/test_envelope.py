"""A fact survives its journey, and what is no fact is told apart without being quoted."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from contracts.envelope import Envelope, Unreadable
from contracts.facts import DocumentDeleted, IndexActivated, UserDeleted

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def a_deletion() -> DocumentDeleted:
    return DocumentDeleted(document_id=uuid4(), owner_id=uuid4(), version=3, deletion_id=uuid4())


def an_envelope() -> Envelope:
    return Envelope.wrap(a_deletion(), event_id=uuid4(), source="gateway", time=NOW)


def test_a_fact_comes_back_as_it_was_said() -> None:
    fact = a_deletion()
    envelope = Envelope.wrap(fact, event_id=uuid4(), source="gateway", time=NOW, traceparent="00-1-2-01")
    again = Envelope.parse(envelope.to_bytes())
    assert again == envelope
    assert again.fact() == fact
    assert again.subject == str(fact.document_id)


def test_a_subject_is_what_the_fact_is_about() -> None:
    user = uuid4()
    assert UserDeleted(user_id=user, deletion_id=uuid4()).subject == str(user)
    activated = IndexActivated(index_id="idx2", generation=2, model="local", dimension=384, shards=64)
    assert activated.subject == "active", "compaction keeps the newest activation only"


def test_a_field_from_a_newer_release_is_ignored() -> None:
    content = json.loads(an_envelope().to_bytes())
    content["data"]["mood"] = "sunny"
    content["region"] = "north"
    assert isinstance(Envelope.parse(json.dumps(content).encode()).fact(), DocumentDeleted)


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{", b'"text"', b"\xff\xfe", b"{}", b'{"specversion":"0.3"}'])
def test_what_is_no_event_is_unreadable(value: bytes) -> None:
    with pytest.raises(Unreadable):
        Envelope.parse(value)


def test_an_unknown_version_is_unreadable() -> None:
    with pytest.raises(Unreadable, match=r"document\.deleted\.v9"):
        an_envelope().model_copy(update={"type": "document.deleted.v9"}).fact()


def test_a_missing_field_is_named_and_no_value_is_quoted() -> None:
    envelope = an_envelope()
    data = {name: value for name, value in envelope.data.items() if name != "deletion_id"} | {"version": "canary"}
    with pytest.raises(Unreadable, match=r"document\.deleted\.v1: version") as error:
        envelope.model_copy(update={"data": data}).fact()
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("value", ["\0", "canary", "0af76519-\0"])
def test_of_what_is_no_id_not_one_character_is_quoted(value: str) -> None:
    envelope = an_envelope()
    with pytest.raises(Unreadable) as error:
        Envelope.parse(json.dumps({**envelope.model_dump(mode="json"), "id": value}).encode())
    assert error.value.reason == "not an event: id: Input should be a valid UUID"
    with pytest.raises(Unreadable) as error:
        envelope.model_copy(update={"data": {**envelope.data, "document_id": value}}).fact()
    assert error.value.reason == "document.deleted.v1: document_id: Input should be a valid UUID"


def test_an_envelope_about_another_subject_than_its_data_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="subject"):
        an_envelope().model_copy(update={"subject": str(uuid4())}).fact()

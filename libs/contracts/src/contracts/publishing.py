"""Writes what other teams read: a JSON Schema and an example for each fact, and the AsyncAPI document.

`python -m contracts.publishing DIRECTORY` refuses to replace a schema by one that breaks its readers, and never touches
an example that is there: an example is a record that somebody may still hold.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts.compatibility import Schema, breaks
from contracts.envelope import CONTENT_TYPE, TYPE_HEADER, Envelope
from contracts.facts import FACTS, Fact
from contracts.flow import FLOW
from contracts.topics import TOPICS, Topic

_ID = UUID("01990000-0000-7000-8000-000000000001")
_DIGEST = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_VALUES: dict[str, Any] = {
    "version": 1,
    "attempt": 1,
    "media_type": "application/pdf",
    "size_bytes": 48_213,
    "sha256": _DIGEST,
    "chunks_sha256": _DIGEST,
    "chunk_count": 128,
    "embedded_count": 64,
    "pages": 24,
    "indexes": ["idx1"],
    "stage": "ingest",
    "code": "document.encrypted",
    "detail": "The PDF is protected by a password.",
    "retryable": False,
    "service": "qa",
    "erased": 128,
    "remaining": 0,
    "index_id": "idx1",
    "generation": 1,
    "model": "local",
    "dimension": 384,
    "shards": 64,
}


class BreakingChange(Exception):
    """A schema would surprise those who know its published form."""

    def __init__(self, fact_type: str, reasons: list[str]) -> None:
        super().__init__(f"{fact_type}: {'; '.join(reasons)}. Say it as a new fact with the next version.")
        self.reasons = reasons


def publish(directory: Path) -> None:
    """Write `schemas/`, `examples/`, `asyncapi.json` below the directory. Raises `BreakingChange` before it writes."""
    schemas = {fact_type: schema_of(fact) for fact_type, fact in FACTS.items()}
    for fact_type, schema in schemas.items():
        refuse_breaking(directory, fact_type, schema)
    for fact_type, schema in schemas.items():
        _write(directory / "schemas" / f"{fact_type}.json", schema)
    for fact_type, fact in FACTS.items():
        path = directory / "examples" / f"{fact_type}.json"
        if not path.exists():
            _write(path, json.loads(_example(fact).to_bytes()))
    _write(directory / "asyncapi.json", asyncapi())


def refuse_breaking(directory: Path, fact_type: str, schema: Schema) -> None:
    """Raise `BreakingChange` if the schema does not fit the published one."""
    path = directory / "schemas" / f"{fact_type}.json"
    if path.exists() and (reasons := breaks(json.loads(path.read_text()), schema)):
        raise BreakingChange(fact_type, reasons)


def schema_of(fact: type[Fact]) -> Schema:
    """The JSON Schema of a fact's data."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": fact.type, **fact.model_json_schema()}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document: the topics, the facts on each, and who says and hears them."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "docqa events",
            "version": "1.0.0",
            "description": "What happens to documents, accounts and indexes, as CloudEvents 1.0 in structured JSON.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": _operations(),
        "components": {"messages": {fact_type: _message(fact) for fact_type, fact in FACTS.items()}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    facts = [fact_type for fact_type, fact in FACTS.items() if fact.topic == topic]
    return {
        "address": topic.name,
        "messages": {fact_type: {"$ref": f"#/components/messages/{fact_type}"} for fact_type in facts},
        "bindings": {"kafka": {"partitions": topic.partitions, "topicConfiguration": _configuration(topic)}},
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    if topic.retention is None:
        return {"cleanup.policy": ["compact"]}
    return {"cleanup.policy": ["delete"], "retention.ms": int(topic.retention.total_seconds() * 1000)}


def _operations() -> dict[str, Any]:
    return {
        f"{service}.{verb}.{step.fact.type}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{step.fact.topic.name}"},
            "summary": f"{service} {verb}: {step.happens}",
            "messages": [{"$ref": f"#/channels/{step.fact.topic.name}/messages/{step.fact.type}"}],
        }
        for step in FLOW
        for verb, action, services in (("says", "send", step.said_by), ("hears", "receive", step.heard_by))
        for service in services
    }


def _message(fact: type[Fact]) -> dict[str, Any]:
    return {
        "name": fact.type,
        "contentType": CONTENT_TYPE,
        "headers": {"type": "object", "properties": _headers(fact)},
        "summary": (fact.__doc__ or "").splitlines()[0],
        "bindings": {"kafka": {"key": {"type": "string", "description": "the id that the fact is about"}}},
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {"type": "string", "format": "uuid"},
                "source": {"type": "string"},
                "type": {"const": fact.type},
                "subject": {"type": "string"},
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": {"const": "application/json"},
                "traceparent": {"type": "string"},
                "data": schema_of(fact),
            },
        },
    }


def _headers(fact: type[Fact]) -> dict[str, Any]:
    return {
        TYPE_HEADER: {"const": fact.type},
        "content-type": {"const": CONTENT_TYPE},
        "traceparent": {"type": "string"},
    }


def _example(fact: type[Fact]) -> Envelope:
    values = {
        name: _VALUES.get(name, _ID)
        for name, field in fact.model_fields.items()
        if field.is_required() or name in _VALUES
    }
    said_by = next(step.said_by[-1] for step in FLOW if step.fact is fact)
    return Envelope.wrap(
        fact.model_validate(values),
        event_id=_ID,
        source=said_by,
        time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))

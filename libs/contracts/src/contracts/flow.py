"""Who says each fact, and who hears it. The README's table and the AsyncAPI document are written from here."""

from dataclasses import dataclass

from contracts.facts import (
    DocumentChunked,
    DocumentDeleted,
    DocumentEmbedded,
    DocumentEmbeddingProgressed,
    DocumentFailed,
    DocumentParsingStarted,
    DocumentPurged,
    DocumentReady,
    DocumentUploaded,
    Fact,
    IndexActivated,
    UserDeleted,
    UserPurged,
)


@dataclass(frozen=True)
class Step:
    """One step in the life of a document, an account or an index, and the fact that tells of it."""

    happens: str
    fact: type[Fact]
    said_by: tuple[str, ...]
    heard_by: tuple[str, ...]


FLOW = (
    Step("a file is accepted and stored", DocumentUploaded, ("gateway",), ("ingest",)),
    Step("its parsing has begun", DocumentParsingStarted, ("ingest",), ("gateway",)),
    Step("its text is extracted and split", DocumentChunked, ("ingest",), ("embedder", "qa", "gateway")),
    Step("its chunks are being embedded", DocumentEmbeddingProgressed, ("embedder",), ("gateway",)),
    Step("its vectors are stored", DocumentEmbedded, ("embedder",), ("qa", "gateway")),
    Step("it can be asked about", DocumentReady, ("qa",), ("gateway", "ingest", "embedder")),
    Step(
        "it cannot be processed",
        DocumentFailed,
        ("ingest", "embedder", "qa"),
        ("gateway", "ingest", "embedder", "qa"),
    ),
    Step("its owner deleted it", DocumentDeleted, ("gateway",), ("ingest", "embedder", "qa")),
    Step("one store has verifiably erased it", DocumentPurged, ("gateway", "ingest", "embedder", "qa"), ("gateway",)),
    Step("an account was closed", UserDeleted, ("auth",), ("gateway", "qa")),
    Step("one service holds nothing of the account", UserPurged, ("gateway", "qa"), ("auth", "gateway")),
    Step("questions are answered from another index", IndexActivated, ("embedder",), ("qa",)),
)
"""Every fact once, in the order in which a document, an account and an index meet them."""


def flow_table() -> str:
    """The flow as a Markdown table."""
    rows = [
        f"| {step.happens} | `{step.fact.type}` | {', '.join(step.said_by)} → {', '.join(step.heard_by)} |"
        for step in FLOW
    ]
    return "\n".join(["| step | fact | said by → heard by |", "|---|---|---|", *rows])

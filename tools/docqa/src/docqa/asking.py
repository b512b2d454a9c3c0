"""`docqa ask`: the answer as it is written, then where it comes from."""

import sys
from collections.abc import Iterator
from typing import TypeVar
from uuid import UUID

from contracts.questions import Answer, AskToken, Source
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.text import Text

from docqa.client import Client, refusal
from docqa.failing import PlainError
from docqa.sse import Event

ModelT = TypeVar("ModelT", bound=BaseModel)


def ask(question: str, *, session: UUID | None, documents: list[UUID], top_k: int | None, console: Console) -> None:
    """Streams the answer to stdout; the sources follow, the cited ones only if any is cited."""
    body = {
        "question": question,
        **({"session_id": str(session)} if session else {}),
        **({"document_ids": [str(document) for document in documents]} if documents else {}),
        **({"top_k": top_k} if top_k else {}),
    }
    with Client() as client, client.stream("POST", "/api/ask", lambda: {"json": body}) as events:
        answer = _written(events)
    _show_sources(answer, console)


def _written(events: Iterator[Event]) -> Answer:
    said = False
    try:
        for event in events:
            match event.name:
                case "token":
                    sys.stdout.write(_parsed(AskToken, event).text)
                    sys.stdout.flush()
                    said = True
                case "error":
                    raise refusal(500, event.data)
                case "done":
                    answer = _parsed(Answer, event)
                    sys.stdout.write("" if said else answer.answer)
                    said = True
                    return answer
        raise PlainError("The answer broke off. What was said is kept in the chat; ask again.")
    finally:
        sys.stdout.write("\n" if said else "")


def _show_sources(answer: Answer, console: Console) -> None:
    shown = [source for source in answer.sources if source.cited] or answer.sources
    if shown:
        console.print()
    for source in shown:
        console.print(Text.assemble("  ", (f"[{source.rank}]", "bold"), " ", place(source)), soft_wrap=True)
    console.print(Text(f"\nTo go on: docqa ask --session {answer.session_id} …", style="dim"), soft_wrap=True)


def place(source: Source) -> str:
    return source.filename if source.page is None else f"{source.filename}, page {source.page}"


def _parsed(kind: type[ModelT], event: Event) -> ModelT:
    try:
        return kind.model_validate_json(event.data)
    except ValidationError:
        raise PlainError(f"The server's event “{event.name}” is not understood by this release.") from None

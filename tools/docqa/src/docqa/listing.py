"""`docqa status`: every document and how far it is."""

from collections.abc import Iterator

from contracts.documents import Document, DocumentPage
from rich.console import Console
from rich.table import Table
from rich.text import Text

from docqa.client import Client
from docqa.uploading import state_of

AT_ONCE = 100
UNWRAPPED = 100_000
COLOURS = {"ready": "green", "failed": "red", "deleting": "dim"}


def status(console: Console, *, only: list[str]) -> None:
    with Client() as client:
        first = client.get("/api/docs", DocumentPage, limit=AT_ONCE, **({"status": only} if only else {}))
        documents = list(_all(client, first, only))
    if not documents:
        console.print("No documents." if not only else f"No documents that are {' or '.join(only)}.", highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("document", "status", "pages", "chunks", "error"):
        table.add_column(heading, justify="right" if heading in ("pages", "chunks") else "left", overflow="fold")
    for document in documents:
        table.add_row(*_row(document))
    if not console.is_terminal:
        console.width = UNWRAPPED  # a line a document, however long, where programs read it
    console.print(table)
    counts = ", ".join(f"{count} {name}" for name, count in first.counts.items() if count)
    console.print(f"\n{counts}", highlight=False)


def _all(client: Client, page: DocumentPage, only: list[str]) -> Iterator[Document]:
    yield from page.items
    while page.next_cursor:
        wanted = {"status": only} if only else {}
        page = client.get("/api/docs", DocumentPage, limit=AT_ONCE, cursor=page.next_cursor, **wanted)
        yield from page.items


def _row(document: Document) -> list[Text]:
    error = f"{document.error.detail} ({document.error.code})" if document.error else ""
    colour = COLOURS.get(document.status.value, "yellow")
    numbers = [Text("" if number is None else str(number)) for number in (document.pages, document.chunk_count)]
    return [Text(document.filename), Text(state_of(document), style=colour), *numbers, Text(error)]

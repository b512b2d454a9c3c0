"""`docqa upload`: files sent, then followed until each can be asked about."""

import io
import mimetypes
import os
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import httpx
from contracts.config import Config
from contracts.documents import Document, DocumentStatus, Gone, UploadAnswer, UploadedDocument
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from docqa.client import Client, refusal
from docqa.failing import PlainError, ServerAway, ServerRefused
from docqa.sse import Event

MARKDOWN = {".md": "text/markdown", ".markdown": "text/markdown"}
ENDS = (DocumentStatus.READY, DocumentStatus.FAILED, DocumentStatus.DELETING)
RECONNECTS = 30  # one a second: a gateway that is restarted is back long before
STREAM_ENDED = ("auth.token_expired",)


def upload(files: Sequence[Path], *, wait: bool, console: Console) -> None:
    """Raises `PlainError` at the end if any file was rejected or failed; the others are uploaded all the same."""
    _check(files)
    with Client() as client:
        most = client.get("/api/config", Config).max_files
        accepted: list[UploadedDocument] = []
        troubles = 0
        for start in range(0, len(files), most):
            answer = _send(client, files[start : start + most], console)
            accepted += answer.documents
            troubles += _report_rejected(answer, console)
        if wait and accepted:
            troubles += _follow(client, accepted, console)
        elif accepted:
            console.print(f"{len(accepted)} sent. `docqa status` shows how far they are.", highlight=False)
    if troubles:
        raise PlainError(f"{troubles} of {len(files)} could not be processed.")


def _check(files: Sequence[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise PlainError(f"{file} is not a file." if file.exists() else f"There is no file {file}.")
        if not os.access(file, os.R_OK):
            raise PlainError(f"{file} cannot be read.")


class _Counted(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, file: Path, read: Callable[[int], None]) -> None:
        super().__init__(file)
        self._told = read

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(-1 if size is None else size)
        self._told(len(part))
        return part


def _send(client: Client, files: Sequence[Path], console: Console) -> UploadAnswer:
    total = sum(file.stat().st_size for file in files)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress, ExitStack() as opened:
        bar = progress.add_task(f"sending {counted(len(files), 'file')}", total=total)

        def body() -> dict[str, object]:
            progress.reset(bar)
            parts = [(file, opened.enter_context(_Counted(file, lambda n: progress.advance(bar, n)))) for file in files]
            return {"files": [("files", (shown_name(file), content, media_type(file))) for file, content in parts]}

        try:
            return client.post("/api/upload", UploadAnswer, body)
        except ServerRefused as refused:
            if refused.rejected:
                return UploadAnswer(documents=[], rejected=list(refused.rejected))
            raise


def shown_name(file: Path) -> str:
    """Its name without control characters: httpx would send a tab as `%09`, which the server takes for letters."""
    return "".join(letter for letter in file.name if unicodedata.category(letter) != "Cc") or file.name


def media_type(file: Path) -> str:
    """By its name; the server looks at the content as well."""
    known = MARKDOWN.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0]
    return known or "application/octet-stream"


def _report_rejected(answer: UploadAnswer, console: Console) -> int:
    for rejected in answer.rejected:
        _line(console, "[red]✗[/]", f"{rejected.filename}: {rejected.detail} ({rejected.code})")
    return len(answer.rejected)


def _follow(client: Client, documents: Sequence[UploadedDocument], console: Console) -> int:
    """Shows each document's way until it is ready or failed; the number of files that failed.

    Files of the same content are one document.
    """
    pending = {document.id: document for document in documents}
    files = Counter(document.id for document in documents)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[state]}"))
    failed = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = {id_: progress.add_task(one.filename, total=None, state="") for id_, one in pending.items()}
        for document in _changes(client, pending):
            _move(progress, bars[document.id], document)
            if document.status in ENDS:
                del pending[document.id]
                progress.remove_task(bars[document.id])
                failed += _report_end(document, files[document.id], console)
            if not pending:
                break
    return failed


def _changes(client: Client, pending: Mapping[UUID, Document]) -> Iterator[Document]:
    """Every state of the documents that are pending, from now until none is; joins again when the stream breaks.

    One that is gone is told as being deleted.
    """
    lost = 0
    while pending:
        try:
            with client.stream("GET", "/api/docs/events") as events:
                yield from _gone_before(client, list(pending.values()))
                for seen in _told(events):
                    lost = 0
                    known = pending.get(seen.id)
                    if known is not None and isinstance(seen, Gone):
                        yield _deleted(known)
                    elif known is not None and isinstance(seen, Document) and seen.version >= known.version:
                        yield seen
                    if not pending:
                        return
        except ServerAway:
            if lost >= RECONNECTS:
                raise
        lost += 1
        time.sleep(1)


def _gone_before(client: Client, pending: Sequence[Document]) -> Iterator[Document]:
    """Those that were gone when the stream began: it says nothing of them."""
    for document in pending:
        try:
            client.get(f"/api/docs/{document.id}", Document)
        except ServerRefused as refused:
            if refused.status != httpx.codes.NOT_FOUND:
                raise
            yield _deleted(document)


def _deleted(document: Document) -> Document:
    return document.model_copy(update={"status": DocumentStatus.DELETING})


def _told(events: Iterator[Event]) -> Iterator[Document | Gone]:
    for event in events:
        if event.name == "document":
            yield Document.model_validate_json(event.data)
        elif event.name == "gone":
            yield Gone.model_validate_json(event.data)
        elif event.name == "error":
            refused = refusal(500, event.data)
            if refused.code in STREAM_ENDED:
                return  # joined again with a new token
            raise refused


def _move(progress: Progress, bar: TaskID, document: Document) -> None:
    progress.update(bar, total=document.chunk_count, completed=document.embedded_count, state=state_of(document))


def _report_end(document: Document, files: int, console: Console) -> int:
    """The number of files that failed with it."""
    same = f", {files} files of the same content" if files > 1 else ""
    if document.status is DocumentStatus.DELETING:
        _line(console, "[red]✗[/]", f"{document.filename}: deleted meanwhile{same}")
        return files
    if document.status is DocumentStatus.FAILED:
        reason = f"{document.error.detail} ({document.error.code})" if document.error else "failed"
        _line(console, "[red]✗[/]", f"{document.filename}: {reason}{same}")
        return files
    pages = f"{counted(document.pages, 'page')}, " if document.pages else ""
    chunks = counted(document.chunk_count or 0, "chunk")
    _line(console, "[green]✓[/]", f"{document.filename}: ready ({pages}{chunks}){same}")
    return 0


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def state_of(document: Document) -> str:
    """Its status, with how far it is while it is being embedded."""
    if document.status is DocumentStatus.EMBEDDING and document.chunk_count:
        return f"embedding ({document.embedded_count} of {document.chunk_count})"
    return document.status.value


def _line(console: Console, mark: str, text: str) -> None:
    console.print(f"{mark} {escape(text)}", highlight=False, soft_wrap=True)

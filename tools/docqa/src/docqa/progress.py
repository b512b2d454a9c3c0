"""How a person sees the stack come up: a line a step, on a terminal with a spinner for what is still missing."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from docqa.failing import OutputFailed
from docqa.telling import ReaderLeft


class Progress(Protocol):
    """Told what happens. Steps overlap."""

    def step(self, name: str) -> AbstractContextManager[None]: ...

    def notice(self, text: str) -> None: ...


class Silent:
    """For stacks that nobody watches."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        del name
        yield

    def notice(self, text: str) -> None:
        del text


class OnConsole:
    """One line for each finished step, readable in a file as well; between them, on a terminal, what is being done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: list[str] = []
        self._status = console.status("") if console.is_terminal else None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self._running.append(name)
        self._show()
        try:
            yield
        except BaseException as error:
            if isinstance(error, Exception):
                self._console.print(f"  [red]✗[/] {escape(name)}", highlight=False)
            raise
        else:
            took = time.monotonic() - began
            self._console.print(f"  [green]✓[/] {escape(name):<28} [dim]{took:5.1f} s[/]", highlight=False)
        finally:
            self._running.remove(name)
            self._show()

    def notice(self, text: str) -> None:
        with suppress(OutputFailed, ReaderLeft):  # that nobody can be told is no reason to stop
            self._console.print(f"  [yellow]![/] {escape(text)}", highlight=False, soft_wrap=True)

    def _show(self) -> None:
        if self._status is None:
            return
        if self._running:
            self._status.update(f"[dim]{escape(', '.join(self._running))} …[/]")
            self._status.start()
        else:
            self._status.stop()

"""What a person sees while it works: how far it is, and what it does just now."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

A_ROW = 100.0


class Teller:
    """A bar over all rows on a terminal; in a file a line a row."""

    def __init__(self, console: Console, rows: int) -> None:
        self._console = console
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=rows * A_ROW)
        self._left = A_ROW
        self._a_step = A_ROW
        self._title = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextmanager
    def row(self, number: int, title: str, steps: int) -> Iterator[None]:
        """A row that will take about so many steps."""
        self._title, self._left, self._a_step = f"row {number}, {title}", A_ROW, A_ROW / max(1, steps)
        self._progress.update(self._task, description=escape(self._title))
        if not self._console.is_terminal:
            self._console.print(f"{self._title} …", highlight=False)
        yield
        self._advance(self._left)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        self._progress.update(self._task, description=escape(f"{self._title}: {what}"))
        yield
        self._advance(min(self._a_step, self._left))

    def notice(self, text: str) -> None:
        """Something to be read although the bar goes on."""
        self._console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)

    def _advance(self, by: float) -> None:
        self._left -= by
        self._progress.advance(self._task, by)

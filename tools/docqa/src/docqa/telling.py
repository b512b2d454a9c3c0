"""How a command reaches a person: its output, and errors in plain words on stderr, with an exit code to act on."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from docqa.failing import OutputFailed, PlainError

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell tells of a process that SIGPIPE ended
NOWHERE = Path(os.devnull)


class ReaderLeft(Exception):
    """Whoever read the output has closed it, as `head` does."""


@contextmanager
def plainly() -> Iterator[None]:
    """Turns what a person can act on into a sentence; anything else keeps its traceback, for it is a bug.

    What a terminal has no character for is told as a question mark: a tick must not make a failure of a success.
    """
    _open_what_is_closed()
    output = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="replace")
    sys.stdout = cast(TextIO, _Output(output))
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except PlainError as error:
        if isinstance(error, OutputFailed):
            _discard(output)
        sys.stderr.write(f"docqa: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        sys.exit(INTERRUPTED)
    except ReaderLeft:
        _discard(output)
        sys.exit(BROKEN_PIPE)
    finally:
        sys.stdout = output


def console() -> "Console":
    """Shows what documents are called as they are called: no `:name:` is a picture."""
    from rich.console import Console

    return Console(emoji=False)


class _Output:
    """stdout. Raises `OutputFailed` and `ReaderLeft`: of an `OSError` rich and typer would make an end of their own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _translated():
            return self._stream.write(text)

    def flush(self) -> None:
        with _translated():
            self._stream.flush()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderLeft from None
    except OSError as error:
        raise OutputFailed(error.strerror or str(error)) from None


def _open_what_is_closed() -> None:
    """A stream that was closed before we were started is as good as an empty one."""
    if sys.stdin is None:
        sys.stdin = NOWHERE.open(encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = NOWHERE.open("w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = NOWHERE.open("w", encoding="utf-8")


def _discard(output: TextIO) -> None:
    """What could not be written is given up: Python would try once more at its end, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(NOWHERE, os.O_WRONLY)
        os.dup2(nowhere, output.fileno())
        os.close(nowhere)

"""How errors reach a person: in plain words on stderr, with an exit code that scripts can act on."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from docqa.failing import PlainError

INTERRUPTED = 130
BROKEN_PIPE = 141


@contextmanager
def plainly() -> Iterator[None]:
    """Turns what a person can act on into a sentence; anything else keeps its traceback, for it is a bug.

    What a terminal has no character for is told as a question mark: a tick must not make a failure of a success.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except PlainError as error:
        sys.stderr.write(f"docqa: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has left, and Python would complain about that when it flushes
        sys.exit(BROKEN_PIPE)

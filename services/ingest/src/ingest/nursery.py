"""The process from which the reader of each document is forked: `python -m ingest.nursery`.

It has imported all that reading takes, so that a new process costs a few milliseconds and hardly any memory. Nothing
of one document is left when the next one is read.
"""

import os
import sys
from importlib import import_module
from typing import NoReturn

from chassis.disks import is_full
from chassis.fork_server import ForkServer, die_with_parent

from ingest.confining import confine
from ingest.extracting import extract
from ingest.extraction import NO_ROOM, Extraction
from ingest.reading import Engine


def read(order: str) -> NoReturn:
    """Be the reader of one document."""
    status = 1
    try:
        _close_pipes()
        wanted = Extraction.from_json(order)
        confine(wanted.limits)
        extract(wanted)
        status = 0
    except OSError as error:
        status = NO_ROOM if is_full(error) else 1
    finally:
        os._exit(status)  # whatever else it was: nothing may be said of it


def _close_pipes() -> None:
    """Nothing that a document makes a library say may reach orders, answers or logs."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.closerange(3, 64)


def main() -> None:
    """Load what reading takes, and serve."""
    engine, parent = Engine(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    import_module(f"ingest.{engine}_engine")
    ForkServer(read).run()


if __name__ == "__main__":
    main()

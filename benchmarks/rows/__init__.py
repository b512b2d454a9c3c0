"""The rows of the table, each a module: what is measured, and against which goal."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.rows import (
    asking,
    delivering,
    growing,
    load,
    logging_in,
    many_users,
    memory,
    more_embedders,
    one_chunk,
    pdf_to_ready,
    rebuilding,
    throughput,
    under_load,
)


@dataclass(frozen=True)
class Row:
    """A row of the table; `steps` are about as many as it tells of."""

    number: int
    title: str
    measure: Callable[[Bench], Awaitable[list[Figure]]]
    steps: int


LOAD = 0
"""It has no number in the table of goals."""

ROWS = {
    row.number: row
    for row in (
        Row(LOAD, "load", load.measure, load.STEPS),
        Row(1, "a long PDF", pdf_to_ready.measure, pdf_to_ready.STEPS),
        Row(2, "ingest throughput", throughput.measure, throughput.STEPS),
        Row(3, "one chunk, and a burst", one_chunk.measure, one_chunk.STEPS),
        Row(4, "asking while PDFs come", under_load.measure, under_load.STEPS),
        Row(5, "asking", asking.measure, asking.STEPS),
        Row(6, "more embedders", more_embedders.measure, more_embedders.STEPS),
        Row(7, "many users", many_users.measure, many_users.STEPS),
        Row(8, "many chunks", growing.measure, growing.STEPS),
        Row(9, "memory", memory.measure, memory.STEPS),
        Row(10, "rebuild", rebuilding.measure, rebuilding.STEPS),
        Row(11, "outbox to handler", delivering.measure, delivering.STEPS),
        Row(12, "login", logging_in.measure, logging_in.STEPS),
    )
}

# Those that share a running docqa lie side by side; memory comes first, for it wants one that nobody has used.
ORDER = (9, 12, 5, 1, 4, 2, 3, 11, 6, LOAD, 7, 10, 8)

SETS = {"bench": (1, 2, 3, 4, 5, 9, 11, 12), "scale": (6, 7, 8, 10), "load": (LOAD,)}

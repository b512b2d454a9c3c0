"""`python -m benchmarks 3 5`: these rows; `… bench`: those of `make bench`; `… scale`: the large ones."""

import argparse
import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import reporting
from benchmarks.bench import Bench
from benchmarks.comparing import RUNS
from benchmarks.figures import Figure
from benchmarks.machine import this_machine
from benchmarks.provider import ROOT
from benchmarks.rows import ORDER, ROWS, SETS
from benchmarks.stands import Stands
from benchmarks.telling import Teller

Keep = Callable[[Sequence[Figure]], None]

RESULTS = ROOT / "benchmarks" / "results"
BUSY = 0.5


async def measure(rows: Sequence[int], console: Console, *, seed: int, runs: int, keep: Keep) -> list[Figure]:
    """The figures of these rows, in the order of their numbers; after each row all of them so far are kept."""
    figures = list[Figure]()
    stands = Stands(seed=seed)
    with Teller(console, len(rows)) as tell:
        try:
            for number in (number for number in ORDER if number in rows):
                row = ROWS[number]
                with tell.row(number, row.title, row.steps):
                    figures += await row.measure(Bench(stands, tell, runs))
                keep(figures)
        finally:
            await stands.close()
    return sorted(figures, key=lambda figure: figure.row)


def main() -> None:
    asked = _arguments()
    console = Console(width=None if os.isatty(1) else 180)
    machine = this_machine()
    if machine.load > BUSY:
        console.print(f"The machine is busy (load {machine.load:.1f}): figures may be thrown away.", highlight=False)
    keep = partial(reporting.save, machine=machine, target=asked.json)
    figures = asyncio.run(measure(asked.rows, console, seed=asked.seed, runs=asked.runs, keep=keep))
    reporting.show(figures, console)
    if asked.markdown:
        console.file.write(reporting.as_markdown(figures) + "\n")
    console.print(f"Every repetition: {asked.json}", highlight=False, soft_wrap=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="+", help=f"numbers of rows ({', '.join(map(str, ROWS))}), or {', '.join(SETS)}")
    parser.add_argument("--seed", type=int, default=1, help="of documents and people")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often a comparison is made until it is steady")
    parser.add_argument("--json", type=Path, help="where every repetition is written")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown as well")
    asked = parser.parse_args()
    asked.rows = sorted({number for word in asked.what for number in _rows(parser, word)})
    asked.json = asked.json or RESULTS / f"{'-'.join(asked.what)}.json"
    return asked


def _rows(parser: argparse.ArgumentParser, word: str) -> Sequence[int]:
    if word in SETS:
        return SETS[word]
    if not word.isdigit() or int(word) not in ROWS:
        parser.error(f"there is no row {word}")
    return [int(word)]


if __name__ == "__main__":
    main()

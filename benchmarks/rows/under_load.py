"""Row 4: asking and searching while long PDFs are being taken in, over the same without them."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from time import perf_counter

from benchmarks import documents
from benchmarks.bench import Bench
from benchmarks.documents import File
from benchmarks.figures import Figure, ratio_at_most
from benchmarks.people import Person
from benchmarks.series import Series, percentile
from benchmarks.stands import Stand

ROUNDS = 5
SAMPLES = 40  # a round, of each
PAGES = 90
PDFS = 20
PDFS_AT_ONCE = 2
DELAY = 0.02
TEXTS = 4
STEADY = 0.20
STEPS = 2 * ROUNDS + 1

Act = Callable[[str], Awaitable[object]]


async def measure(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get()
    await stand.provider.behave(delay=DELAY)
    async with stand.person() as person, stand.person() as other:
        files = [documents.text_file(stand.fresh(), chunks=50) for _ in range(TEXTS)]
        await person.brings(*files)
        acts: dict[str, Act] = {"ask": person.asks, "search": person.searches}
        with bench.tell.step("warm-up"):
            # Not while they are measured: what makes a PDF would hold up what waits for the answers, in this process.
            pdfs = itertools.cycle([documents.pdf(stand.fresh(), pages=PAGES) for _ in range(PDFS)])
            await _round(acts, files, 0)
        idle, busy = list[dict[str, list[float]]](), list[dict[str, list[float]]]()
        for number in range(1, ROUNDS + 1):
            with bench.tell.step(f"idle, {number} of {ROUNDS}"):
                idle.append(await _round(acts, files, number))
            with bench.tell.step(f"busy, {number} of {ROUNDS}"):
                async with _ingesting(stand, other, pdfs):
                    busy.append(await _round(acts, files, number))
    return [figure for name in acts for figure in _figures(name, idle, busy)]


async def _round(acts: dict[str, Act], files: list[File], number: int) -> dict[str, list[float]]:
    """Milliseconds of each act, one after another."""
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for sample in range(SAMPLES):
        question = documents.question_about(files[sample % TEXTS], number * SAMPLES + sample)
        for name, act in acts.items():
            began = perf_counter()
            await act(question)
            taken[name].append(1000 * (perf_counter() - began))
    return taken


@asynccontextmanager
async def _ingesting(stand: Stand, person: Person, pdfs: Iterator[File]) -> AsyncIterator[None]:
    """PDFs come, one after the other is ready, as long as the block lasts."""

    async def feed() -> None:
        while True:
            await person.brings(documents.another(next(pdfs), stand.fresh()))

    feeding = [asyncio.create_task(feed()) for _ in range(PDFS_AT_ONCE)]
    try:
        await asyncio.sleep(0.5)
        yield
    finally:
        for task in feeding:
            task.cancel()
        for task in feeding:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _figures(name: str, idle: list[dict[str, list[float]]], busy: list[dict[str, list[float]]]) -> list[Figure]:
    alone, beside = [one[name] for one in idle], [one[name] for one in busy]
    medians = Series(tuple(percentile(one, 50) for one in alone))
    note = f"not steady: idle medians spread by {medians.spread:.0%}" if medians.spread > STEADY else ""
    what = f"{name} while PDFs come, over idle"
    return [
        Figure(
            4,
            f"{what}, p50",
            "ms",
            Series(tuple(percentile(one, 50) for one in beside)),
            medians,
            ratio_at_most(2),
            note,
        ),
        # Of all rounds together: of the few of one round, the last hundredth is a single one.
        Figure(4, f"{what}, p99", "ms", _p99(beside), _p99(alone), ratio_at_most(4), note),
    ]


def _p99(rounds: list[list[float]]) -> Series:
    return Series((percentile([value for one in rounds for value in one], 99),))

"""Row 1: a long PDF, from the first byte of its upload until it can be asked about."""

from time import perf_counter

from benchmarks import documents
from benchmarks.bare.pipeline import Pipeline
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.figures import Figure, ratio_at_most
from benchmarks.stands import Stand

PAGES = 90
DELAYS = (0.0, 0.02, 0.2)
STEPS = len(DELAYS) * (REPETITIONS + 1)


async def measure(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get()
    async with Pipeline(stand) as bare:
        return [await _at(bench, stand, bare, delay) for delay in DELAYS]


async def _at(bench: Bench, stand: Stand, bare: Pipeline, delay: float) -> Figure:
    """Chroma's collections slow down as they grow: each repetition is somebody new, and the bare loop's a new one."""
    await stand.provider.behave(delay=delay)

    async def ours() -> float:
        async with stand.loner() as person:
            return await person.brings(documents.pdf(stand.fresh(), pages=PAGES))

    async def straight() -> float:
        file = documents.pdf(stand.fresh(), pages=PAGES)
        bare.fresh_collection()
        began = perf_counter()
        await bare.bring(file)
        return perf_counter() - began

    what = f"PDF of {PAGES} pages to ready, provider at {delay * 1000:.0f} ms"
    found = await compare(bench, ours, straight, what=what)
    return Figure(1, what, "s", found.ours, found.bare, ratio_at_most(1.8), found.note)

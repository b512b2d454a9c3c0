"""Row 8: an index of 16,000 chunks, and one of a million: what a query costs, and how fast chunks are added."""

import os
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter

from benchmarks import documents
from benchmarks.bench import Bench
from benchmarks.documents import File
from benchmarks.figures import Figure, ratio_at_least, ratio_at_most
from benchmarks.people import Person
from benchmarks.series import Series, percentile
from benchmarks.stands import Stand

FEW = 16_000
MANY = int(os.environ.get("DOCQA_BENCH_CHUNKS", "1000000"))
SHARDS = int(os.environ.get("DOCQA_BENCH_SHARDS", "64"))
TEXTS_AT_ONCE = 20
CHUNKS_A_TEXT = 200
SAMPLES = 500
STEPS = MANY // (TEXTS_AT_ONCE * CHUNKS_A_TEXT)
PEOPLE = min(2 * SHARDS, STEPS)


@dataclass
class _Owner:
    person: Person
    files: list[File]


async def measure(bench: Bench) -> list[Figure]:
    """Not repeated: a million chunks are added once."""
    stand = await bench.stands.get(settings={"DOCQA_EMBEDDER_SHARDS": str(SHARDS)})
    async with AsyncExitStack() as opened:
        owners = [_Owner(await opened.enter_async_context(stand.person()), []) for _ in range(PEOPLE)]
        early = await _fill(bench, stand, owners, until=FEW, have=0)
        few = await _queries(owners)
        late = await _fill(bench, stand, owners, until=MANY, have=FEW)
        many = await _queries(owners)
    first, last = Series(tuple(early)), Series(tuple(late[-len(early) :]))
    searching = f"search in {SHARDS} shards, {MANY:,} chunks over {FEW:,}, p50"
    adding = f"adding to {SHARDS} shards, the last {FEW:,} over the first"
    return [
        Figure(8, searching, "ms", many, few, ratio_at_most(3)),
        Figure(8, adding, "chunks/s", last, first, ratio_at_least(0.8)),
    ]


async def _fill(bench: Bench, stand: Stand, owners: list[_Owner], *, until: int, have: int) -> list[float]:
    """Chunks a second of each upload until there are so many."""
    rates = list[float]()
    while have < until:
        owner = owners[len(rates) % len(owners)]
        with bench.tell.step(f"{have:,} chunks"):
            files = [documents.text_file(stand.fresh(), chunks=CHUNKS_A_TEXT) for _ in range(TEXTS_AT_ONCE)]
            seconds = await owner.person.brings(*files)
        owner.files = files
        have += TEXTS_AT_ONCE * CHUNKS_A_TEXT
        rates.append(TEXTS_AT_ONCE * CHUNKS_A_TEXT / seconds)
    return rates


async def _queries(owners: list[_Owner]) -> Series:
    chance, taken = random.Random(5), list[float]()
    known = [owner for owner in owners if owner.files]
    for _ in range(SAMPLES):
        owner = chance.choice(known)
        question = documents.question_about(chance.choice(owner.files), chance.randrange(500))
        began = perf_counter()
        await owner.person.searches(question)
        taken.append(1000 * (perf_counter() - began))
    return Series(tuple(percentile(taken[start::5], 50) for start in range(5)))

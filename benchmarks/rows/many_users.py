"""Row 7: what a thousand people with a hundred chunks each cost one of them."""

import asyncio
import random
from time import perf_counter

from benchmarks import processes
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.crowd import AT_ONCE, CHUNKS_EACH, USERS, Crowd, Member, crowd_of
from benchmarks.documents import question_about
from benchmarks.figures import Figure, at_most, ratio_at_most
from benchmarks.processes import MEGABYTE
from benchmarks.series import percentile, series
from benchmarks.stands import Stand, Stands

SAMPLES = 200
SEARCHES = 10_000
SEARCHES_AT_ONCE = 4
SETTLE_SECONDS = 5.0
STEPS = USERS // AT_ONCE + REPETITIONS + 3


async def measure(bench: Bench) -> list[Figure]:
    lone_stands = Stands(seed=10_000)
    try:
        stand, lone_stand = await bench.stands.get(), await lone_stands.get()
        lone = await crowd_of(lone_stand, bench.tell, users=1, chunks_each=CHUNKS_EACH)
        empty = await _chroma_bytes(stand)
        crowd = await crowd_of(stand, bench.tell)
        per_user = (await _chroma_bytes(stand) - empty) / MEGABYTE / len(crowd.members)
        queries = await _queries(bench, crowd, lone)
    finally:
        await lone_stands.close()
    with bench.tell.step(f"{SEARCHES} searches"):
        foreign = await _foreign_hits(crowd)
    what = f"{len(crowd.members)} users, {crowd.chunks} chunks"
    return [
        queries,
        Figure(7, f"Chroma's memory a user, {what}", "MB", series(per_user), goal=at_most(0.5)),
        Figure(7, f"foreign hits in {SEARCHES} searches", "", series(foreign), goal=at_most(0)),
    ]


async def _queries(bench: Bench, crowd: Crowd, lone: Crowd) -> Figure:
    chance = random.Random(7)

    async def ours() -> float:
        return 1000 * percentile([await _search(crowd.somebody(chance), chance) for _ in range(SAMPLES)], 50)

    async def bare() -> float:
        return 1000 * percentile([await _search(lone.members[0], chance) for _ in range(SAMPLES)], 50)

    what = "search of one of many over that of a lone user, p50"
    found = await compare(bench, ours, bare, what=what)
    return Figure(7, what, "ms", found.ours, found.bare, ratio_at_most(2.5), found.note)


async def _search(member: Member, chance: random.Random) -> float:
    began = perf_counter()
    await member.person.searches(question_about(member.file, chance.randrange(500)))
    return perf_counter() - began


async def _foreign_hits(crowd: Crowd) -> float:
    """People search for what is in others' documents, and may only find their own."""
    chance = random.Random(11)

    async def some() -> int:
        foreign = 0
        for _ in range(SEARCHES // SEARCHES_AT_ONCE):
            member, other = crowd.somebody(chance), crowd.somebody(chance)
            found = await member.person.searches(question_about(other.file, chance.randrange(500)), top_k=20)
            foreign += sum(document != member.document for document in found)
        return foreign

    return float(sum(await asyncio.gather(*(some() for _ in range(SEARCHES_AT_ONCE)))))


async def _chroma_bytes(stand: Stand) -> int:
    await asyncio.sleep(SETTLE_SECONDS)
    return processes.pss(stand.engine("chroma"))

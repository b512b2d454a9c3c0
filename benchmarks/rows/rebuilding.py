"""Row 10: the index is dropped and built again from what the embedder keeps, while people go on reading."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import httpx

from benchmarks.bare import upserting
from benchmarks.bench import Bench
from benchmarks.comparing import compare
from benchmarks.crowd import AT_ONCE, USERS, Crowd, crowd_of
from benchmarks.documents import question_about
from benchmarks.figures import Figure, at_most, ratio_at_most
from benchmarks.series import series
from benchmarks.stands import Stand

REPETITIONS = 5
LOOK_EVERY = 0.2
READ_EVERY = 0.1
STEPS = USERS // AT_ONCE + REPETITIONS + 2


async def measure(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get()
    crowd = await crowd_of(stand, bench.tell)
    calls, reads, failed = 0, 0, 0

    async def ours() -> float:
        nonlocal calls, reads, failed
        async with _reading(crowd) as seen:
            before = (await stand.provider.seen()).calls
            took = await _rebuild(stand)
        # Each search has its question embedded, and none is under way any more.
        calls += max(0, (await stand.provider.seen()).calls - before - len(seen))
        reads, failed = reads + len(seen), failed + seen.count(False)
        return took

    async def bare() -> float:
        return await asyncio.to_thread(upserting.upserts, stand.stack.addresses.chroma_url, crowd.chunks)

    what = f"rebuild of {crowd.chunks} chunks, over Chroma's own floor"
    found = await compare(bench, ours, bare, what=what, repetitions=REPETITIONS)
    return [
        Figure(10, what, "s", found.ours, found.bare, ratio_at_most(1.5), found.note),
        Figure(10, "embedding calls to the provider", "", series(calls), goal=at_most(0)),
        Figure(10, f"of {reads} searches meanwhile, failed", "", series(failed), goal=at_most(0)),
    ]


async def _rebuild(stand: Stand) -> float:
    """Seconds from the command until the new index answers."""
    headers = {"Authorization": f"Bearer {stand.stack.addresses.operator_token}"}
    url = stand.stack.addresses.url("embedder")
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
        began = perf_counter()
        index = (await http.post("/internal/indexes", json={})).raise_for_status().json()["index_id"]
        while True:
            known = (await http.get("/internal/indexes")).raise_for_status().json()["items"]
            if any(one["index_id"] == index and one["state"] == "active" for one in known):
                return perf_counter() - began
            await asyncio.sleep(LOOK_EVERY)


@asynccontextmanager
async def _reading(crowd: Crowd) -> AsyncIterator[list[bool]]:
    """People search as long as the block lasts; whether each search found something of theirs."""
    found, chance, until = list[bool](), random.Random(3), asyncio.Event()

    async def read() -> None:
        while not until.is_set():
            member = crowd.somebody(chance)
            found.append(bool(await member.person.searches(question_about(member.file, chance.randrange(500)))))
            await asyncio.sleep(READ_EVERY)

    reading = asyncio.create_task(read())
    try:
        yield found
    finally:
        until.set()
        await reading

"""Row 9: what the services hold when idle, and what a large upload adds to the gateway."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from docqa.embedded import children

from benchmarks import processes
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.figures import Figure, at_most, ratio_at_least
from benchmarks.people import Person
from benchmarks.processes import MEGABYTE
from benchmarks.provider import ROOT
from benchmarks.sending import Large, send
from benchmarks.series import Series, series
from benchmarks.stands import Stand, scratch

UPLOAD_MEGABYTES = 200
SETTINGS = {"DOCQA_GATEWAY_MAX_FILE_BYTES": str(300 * MEGABYTE)}
SETTLE_SECONDS = 10.0
LOOK_EVERY = 0.02
STEPS = REPETITIONS + 3


async def measure(bench: Bench) -> list[Figure]:
    await bench.stands.close()  # idle is what nobody has used yet
    stand = await bench.stands.get(settings=SETTINGS)
    with bench.tell.step("idle memory"):
        await asyncio.sleep(SETTLE_SECONDS)
        each = {name: processes.pss(stand.service(name)) / MEGABYTE for name in stand.stack.services}
        each["their origin"] = processes.pss(stand.origin()) / MEGABYTE
    idle, note = series(sum(each.values())), ", ".join(f"{name} {size:.0f}" for name, size in each.items())
    async with stand.person() as person, _straight_server() as straight:
        return [
            Figure(9, "idle memory of the five services", "MB", idle, goal=at_most(400), note=note),
            *await _uploads(bench, stand, person, straight),
        ]


async def _uploads(bench: Bench, stand: Stand, person: Person, straight: str) -> list[Figure]:
    gateway = stand.service("gateway")
    rises = list[float]()
    token = person.http.headers["Authorization"].removeprefix("Bearer ")

    async def ours() -> float:
        async with _highest(gateway) as seen:
            sent = await send(stand.stack.url, Large(stand.fresh(), UPLOAD_MEGABYTES), token=token)
        rises.append((max(seen) - seen[0]) / MEGABYTE)
        # Or the next upload would be received while this one is being read.
        await person.until_ready([document["id"] for document in json.loads(sent.body)["documents"]])
        return UPLOAD_MEGABYTES / sent.seconds

    async def bare() -> float:
        return UPLOAD_MEGABYTES / (await send(straight, Large(stand.fresh(), UPLOAD_MEGABYTES))).seconds

    what = f"upload of {UPLOAD_MEGABYTES} MB"
    found = await compare(bench, ours, bare, what=what)
    return [
        # The first upload of all counts: it is the one that finds the gateway as it started.
        Figure(9, f"the gateway's rise during an {what}", "MB", Series(tuple(rises)), goal=at_most(16)),
        Figure(9, f"speed of an {what}", "MB/s", found.ours, found.bare, ratio_at_least(0.35), found.note),
    ]


@asynccontextmanager
async def _highest(pids: list[int]) -> AsyncIterator[list[int]]:
    """What the processes hold, looked at again and again; the first is from before the block."""
    seen = [processes.pss(pids)]

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            seen.append(processes.pss(pids))

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


@asynccontextmanager
async def _straight_server() -> AsyncIterator[str]:
    async with scratch() as folder:
        child = children.start(
            "receiving",
            [sys.executable, "-m", "benchmarks.bare.receiving", str(folder)],
            environment=os.environ,
            folder=ROOT,
            log=folder / "log",
            piped=True,
        )
        try:
            port = await asyncio.to_thread(os.read, child.stdout, 16)
            yield f"http://127.0.0.1:{int(port)}"
        finally:
            child.kill()

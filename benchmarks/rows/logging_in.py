"""Row 12: a login alone, and how long auth's event loop keeps others waiting while sixteen log in at once."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from statistics import median
from time import perf_counter

from benchmarks.bare import hashing
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.figures import Figure, at_most
from benchmarks.people import Person
from benchmarks.provider import ROOT
from benchmarks.series import Series, percentile
from benchmarks.stands import Stand

SAMPLES = 20
AT_ONCE = 16
STEPS = 2 * REPETITIONS + 2


async def measure(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get()
    async with stand.person() as person:

        async def ours() -> float:
            return 1000 * median([await _login(person) for _ in range(SAMPLES)])

        async def straight() -> float:
            return 1000 * median([hashing.compares() for _ in range(SAMPLES)])

        found = await compare(bench, ours, straight, what="login")
        lags = list[float]()
        for number in range(REPETITIONS + 1):
            with bench.tell.step(f"{AT_ONCE} at once, {number} of {REPETITIONS}"):
                lags.append(await _lag(stand, person))
    return [
        Figure(12, "login alone", "ms", found.ours, found.bare, at_most(30), found.note),
        Figure(
            12,
            f"auth's answer to a health check while {AT_ONCE} log in at once, p99",
            "ms",
            Series(tuple(lags[1:])),
            goal=at_most(10),
            note="the loop's lag and one HTTP exchange, asked for by a process of its own",
        ),
    ]


async def _login(person: Person) -> float:
    began = perf_counter()
    await person.logs_in()
    return perf_counter() - began


async def _lag(stand: Stand, person: Person) -> float:
    """The 99th percentile, in milliseconds, of what a trivial request waits for."""
    probe = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.probe", stand.stack.addresses.url("auth"), stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert probe.stdin is not None
    assert probe.stdout is not None
    await probe.stdout.readline()
    probe.stdin.write(b"\n")
    await asyncio.gather(*(person.logs_in() for _ in range(AT_ONCE)))
    probe.stdin.close()
    return percentile(json.loads(await probe.stdout.read()), 99)

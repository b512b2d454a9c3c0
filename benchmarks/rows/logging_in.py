"""Row 12: a login alone, and how long auth's event loop keeps others waiting while sixteen log in at once."""

import asyncio
import contextlib
from statistics import median
from time import perf_counter

from benchmarks.bare import hashing
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.figures import Figure, at_most
from benchmarks.people import Person
from benchmarks.series import Series, percentile
from benchmarks.stands import Stand

SAMPLES = 20
AT_ONCE = 16
ASK_EVERY = 0.005
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
            note="the loop's lag and one HTTP exchange",
        ),
    ]


async def _login(person: Person) -> float:
    began = perf_counter()
    await person.logs_in()
    return perf_counter() - began


async def _lag(stand: Stand, person: Person) -> float:
    """The 99th percentile, in milliseconds, of what a trivial request waits for."""
    waited = list[float]()
    url = stand.stack.addresses.url("auth").removeprefix("http://")
    host, _, port = url.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asking = asyncio.create_task(_ask(reader, writer, waited))
    await asyncio.gather(*(person.logs_in() for _ in range(AT_ONCE)))
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    writer.close()
    return percentile(waited, 99)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waited: list[float]) -> None:
    while True:
        began = perf_counter()
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: auth\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        waited.append(1000 * (perf_counter() - began))
        await asyncio.sleep(ASK_EVERY)

"""Fifty people who upload and ask at once for five minutes: nothing unpromised, nothing stuck, memory flat."""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, perf_counter
from typing import TypeVar

import httpx

from benchmarks import documents, processes
from benchmarks.bench import Bench
from benchmarks.documents import File
from benchmarks.figures import Figure, at_most
from benchmarks.people import NotReady, Person
from benchmarks.processes import MEGABYTE
from benchmarks.series import percentile, series
from benchmarks.stands import Stand

T = TypeVar("T")

PEOPLE = 50
SECONDS = float(os.environ.get("DOCQA_BENCH_SECONDS", "300"))
FLAT_AFTER = 60.0
LOOK_EVERY = 5.0
THINKING = (0.5, 2.0)
DELAY, JITTER = 0.02, 0.02
PROMISED = {429, 503}  # with Retry-After: wait, and come again
MOST_GROWTH = 0.10
STEPS = int(SECONDS // LOOK_EVERY) + 2


@dataclass
class _Log:
    """What fifty people have seen."""

    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    stuck: int = 0
    brought: int = 0


async def measure(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get()
    await stand.provider.behave(delay=DELAY, jitter=JITTER)
    log, memory = _Log(), list[tuple[float, int]]()
    async with AsyncExitStack() as opened:
        people = [await opened.enter_async_context(stand.person()) for _ in range(PEOPLE)]
        until = monotonic() + SECONDS
        lives = [asyncio.create_task(_live(stand, person, log, until, number)) for number, person in enumerate(people)]
        while monotonic() < until:
            with bench.tell.step(f"{sum(map(len, log.taken.values()))} calls"):
                await asyncio.sleep(LOOK_EVERY)
            memory.append((SECONDS - (until - monotonic()), processes.pss(stand.services())))
        with bench.tell.step("until all of it is ready"):
            await asyncio.gather(*lives)
    return _figures(log, memory)


async def _live(stand: Stand, person: Person, log: _Log, until: float, number: int) -> None:
    chance, made, files = random.Random(number), list[str](), list[File]()
    while monotonic() < until:
        await asyncio.sleep(chance.uniform(*THINKING))
        if not files or chance.random() < 0.2:
            file = await asyncio.to_thread(_something, stand, chance)
            ids = await _timed(log, "upload", partial(person.uploads, file))
            if ids:
                made += ids
            # What is asked about is a text that may not be ready yet: then there is no answer, and that is one, too.
            if ids and file.media_type == "text/plain":
                files.append(file)
        elif chance.random() < 0.5:
            await _timed(log, "ask", lambda: _ask(person, chance, files))
        else:
            await _timed(log, "search", lambda: person.searches(_question(chance, files)))
    log.brought += len(made)
    try:
        await person.until_ready(made)
    except (TimeoutError, NotReady) as error:
        log.stuck += 1
        log.errors[repr(error)[:80]] += 1


async def _ask(person: Person, chance: random.Random, files: list[File]) -> None:
    answer = await person.http.post("/api/ask", json={"question": _question(chance, files)})
    answer.raise_for_status()


async def _timed(log: _Log, what: str, call: Callable[[], Awaitable[T]]) -> T | None:
    began = perf_counter()
    try:
        done = await call()
    except httpx.HTTPStatusError as error:
        promised = error.response.status_code in PROMISED and "retry-after" in error.response.headers
        (log.refused if promised else log.errors)[f"{what} {error.response.status_code}"] += 1
        return None
    except httpx.TransportError as error:
        log.errors[f"{what} {type(error).__name__}"] += 1
        return None
    log.taken[what].append(1000 * (perf_counter() - began))
    return done


def _something(stand: Stand, chance: random.Random) -> File:
    if chance.random() < 0.1:
        return documents.pdf(stand.fresh(), pages=20)
    return documents.text_file(stand.fresh(), chunks=chance.choice((1, 5, 20)))


def _question(chance: random.Random, files: list[File]) -> str:
    return documents.question_about(chance.choice(files), chance.randrange(100))


def _figures(log: _Log, memory: list[tuple[float, int]]) -> list[Figure]:
    early = [size for at, size in memory if at <= FLAT_AFTER][-3:] or [memory[0][1]]
    late = [size for _, size in memory][-3:]
    growth = sum(late) / len(late) / (sum(early) / len(early)) - 1
    refused = ", ".join(f"{count} × {what}" for what, count in log.refused.items()) or "none"
    times = [
        Figure(0, f"{what}, p{percent}", "ms", series(percentile(taken, percent)), note=f"{len(taken)} calls")
        for what, taken in sorted(log.taken.items())
        for percent in (50, 99)
    ]
    return [
        *times,
        Figure(
            0, f"errors that the API does not promise, {PEOPLE} people, {SECONDS:.0f} s", "",
            series(sum(log.errors.values())), goal=at_most(0),
            note="; ".join([f"promised refusals: {refused}", *(f"{n} × {what}" for what, n in log.errors.items())]),
        ),
        Figure(0, f"documents stuck, of {log.brought}", "", series(log.stuck), goal=at_most(0)),
        Figure(
            0, "memory's growth after the first minute", "", series(growth), goal=at_most(MOST_GROWTH),
            note=", ".join(f"{at:.0f} s {size / MEGABYTE:.0f} MB" for at, size in memory[:: max(1, len(memory) // 6)]),
        ),
    ]  # fmt: skip

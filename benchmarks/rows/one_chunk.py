"""Row 3: how soon a document of one chunk can be asked about, and how many of them a second."""

import asyncio
from statistics import median
from time import perf_counter

from benchmarks import documents, processes
from benchmarks.bare.pipeline import Pipeline
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.figures import Figure, Goal, at_least, at_most, ratio_at_most
from benchmarks.people import Person
from benchmarks.series import Series, series
from benchmarks.stands import Broker, Stand
from tests.engines.missing import EngineMissing

# Until each of the topic's 24 partitions has 4 KiB: a broker that writes the first entry of an index waits for 40 ms,
# once a partition and file of its log.
WARM_UP = 200
SAMPLES = 20
BURST = 40
SETTLE_SECONDS = 5.0
IDLE_SECONDS = 15.0
STEPS = 2 * (2 * REPETITIONS + 3) + 1


async def measure(bench: Bench) -> list[Figure]:
    return [*await _on_kafka(bench), *await _on_embedded(bench)]


async def _on_kafka(bench: Bench) -> list[Figure]:
    try:
        stand = await bench.stands.get(Broker.KAFKA)
    except EngineMissing as missing:
        bench.tell.notice(f"not measured on Apache Kafka: {missing}")
        return []
    return await _latency(bench, stand, goals=(at_most(45), ratio_at_most(2.5), at_least(30)))


async def _on_embedded(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get(Broker.EMBEDDED)
    idle = await _idle_cores(bench, stand)
    return [
        *await _latency(bench, stand, goals=(None, None, None)),
        Figure(3, "idle CPU of the whole embedded stack", "cores", series(idle), goal=at_most(0.1)),
    ]


async def _latency(bench: Bench, stand: Stand, *, goals: tuple[Goal | None, Goal | None, Goal | None]) -> list[Figure]:
    async with stand.person() as person, Pipeline(stand) as bare:

        async def ours() -> float:
            return 1000 * median([await person.brings(documents.note(stand.fresh())) for _ in range(SAMPLES)])

        async def straight() -> float:
            return 1000 * median([await _straight(bare, stand) for _ in range(SAMPLES)])

        what = f"one chunk to ready, {stand.broker}"
        with bench.tell.step(f"{what}: the first {WARM_UP}"):
            for _ in range(WARM_UP):
                await person.brings(documents.note(stand.fresh()))
        found = await compare(bench, ours, straight, what=what)
        bursts = await _bursts(bench, stand, person)
    return [
        Figure(3, what, "ms", found.ours, None, goals[0], found.note),
        Figure(3, f"{what}, over the summed bare steps", "ms", found.ours, found.bare, goals[1], found.note),
        Figure(3, f"burst of {BURST}, {stand.broker}", "documents/s", bursts, None, goals[2]),
    ]


async def _straight(bare: Pipeline, stand: Stand) -> float:
    file = documents.note(stand.fresh())
    began = perf_counter()
    await bare.bring(file)
    return perf_counter() - began


async def _bursts(bench: Bench, stand: Stand, person: Person) -> Series:
    rates = list[float]()
    for number in range(REPETITIONS + 1):
        with bench.tell.step(f"burst {number} of {REPETITIONS}, {stand.broker}"):
            rates.append(await _burst(stand, person))
    return Series(tuple(rates[1:]))  # the first was the warm-up


async def _burst(stand: Stand, person: Person) -> float:
    files = [documents.note(stand.fresh()) for _ in range(BURST)]
    began = perf_counter()
    made = await asyncio.gather(*(person.uploads(file) for file in files))
    return BURST / (await person.until_ready([one for ids in made for one in ids]) - began)


async def _idle_cores(bench: Bench, stand: Stand) -> float:
    with bench.tell.step("idle CPU"):
        await asyncio.sleep(SETTLE_SECONDS)
        before, began = processes.cpu_seconds(stand.everything()), perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        return (processes.cpu_seconds(stand.everything()) - before) / (perf_counter() - began)

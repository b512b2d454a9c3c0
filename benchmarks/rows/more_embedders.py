"""Row 6: one, two and four embedders, each with one call of 32 texts in flight to a provider that takes 200 ms."""

from time import perf_counter

from benchmarks import documents
from benchmarks.bench import Bench
from benchmarks.comparing import STEADY
from benchmarks.figures import Figure, at_most, ratio_at_least
from benchmarks.people import Person
from benchmarks.replicas import Replicas
from benchmarks.series import Series
from benchmarks.stands import Broker, Stand
from tests.engines.missing import EngineMissing

DELAY = 0.2
SETTINGS = {"DOCQA_PROVIDER_IN_FLIGHT": "1", "DOCQA_PROVIDER_TEXTS_PER_CALL": "32"}
COUNTS = (1, 2, 4)
ROUNDS = 5
TEXTS = 16
CHUNKS = 256  # a lone embedder makes 160 chunks a second at best: 26 s
STEPS = (ROUNDS + 1) * len(COUNTS)


async def measure(bench: Bench) -> list[Figure]:
    try:
        stand = await bench.stands.get(Broker.KAFKA, SETTINGS)
    except EngineMissing as missing:
        bench.tell.notice(f"not measured: {missing}")
        return []
    embedders = Replicas(stand, "embedder")
    rates: dict[int, list[float]] = {count: [] for count in COUNTS}
    flights: dict[int, list[float]] = {count: [] for count in COUNTS}
    await stand.provider.behave(delay=DELAY)
    try:
        async with stand.person() as person:
            for number in range(ROUNDS + 1):
                for count in COUNTS:
                    with bench.tell.step(f"{count} embedders, {number} of {ROUNDS}"):
                        await embedders.become(count)
                        # While members come or go the group hears nothing: that is not what is measured.
                        await person.brings(*(documents.note(stand.fresh()) for _ in range(TEXTS)))
                        await stand.provider.reset()
                        rate = await _rate(stand, person)
                        if number:  # the first was the warm-up
                            rates[count].append(rate)
                            flights[count].append((await stand.provider.seen()).most_in_flight)
                await embedders.close()
    finally:
        await embedders.close()
    return _figures(rates, flights)


async def _rate(stand: Stand, person: Person) -> float:
    files = [documents.text_file(stand.fresh(), chunks=CHUNKS) for _ in range(TEXTS)]
    began = perf_counter()
    made = await person.uploads(*files)
    seconds = await person.until_ready(made) - began
    found = [(await person.http.get(f"/api/docs/{one}")).raise_for_status().json() for one in made]
    return float(sum(document["chunk_count"] for document in found)) / seconds


def _figures(rates: dict[int, list[float]], flights: dict[int, list[float]]) -> list[Figure]:
    one = Series(tuple(rates[1]))
    note = f"not steady: one embedder spread by {one.spread:.0%}" if one.spread > STEADY else ""
    figures = [
        Figure(6, f"{count} embedders over one", "chunks/s", Series(tuple(rates[count])), one, goal, note)
        for count, goal in ((2, ratio_at_least(1.9)), (4, ratio_at_least(3.6)))
    ]
    return figures + [
        Figure(6, f"calls in flight of {count}, at most", "", Series(tuple(flights[count])), goal=at_most(count))
        for count in COUNTS
    ]

"""Row 5: what asking costs beyond embedding the question, querying the index and hearing the model."""

from dataclasses import dataclass
from statistics import median

from benchmarks import documents
from benchmarks.bare.answering import Answering
from benchmarks.bare.pipeline import Pipeline
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.figures import Figure, Goal, above_bare_by_at_most, ratio_at_most
from benchmarks.people import Person
from benchmarks.stands import Stand

SAMPLES = {0.0: 30, 0.2: 8}
QUESTIONS = 30
TEXTS = 4
CHUNKS = 50
GOALS: dict[float, Goal] = {0.0: above_bare_by_at_most(6), 0.2: ratio_at_most(1.02)}
STEPS = 2 * len(GOALS) * (REPETITIONS + 1)


async def measure(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get()
    async with stand.person() as person, Pipeline(stand) as pipeline:
        files = [documents.text_file(stand.fresh(), chunks=CHUNKS) for _ in range(TEXTS)]
        await person.brings(*files)
        for file in files:
            await pipeline.bring(file)
        bare = Answering(pipeline, stand.provider.base_url)
        questions = [documents.question_about(files[number % TEXTS], number) for number in range(QUESTIONS)]
        return [figure for delay in GOALS for figure in await _at(bench, _Sides(stand, person, bare, questions), delay)]


@dataclass(frozen=True)
class _Sides:
    """Both who are asked, and what."""

    stand: Stand
    person: Person
    bare: Answering
    questions: list[str]


async def _at(bench: Bench, sides: _Sides, delay: float) -> list[Figure]:
    await sides.stand.provider.behave(delay=delay)
    person, bare = sides.person, sides.bare
    asked, goal = sides.questions[: SAMPLES[delay]], GOALS[delay]

    async def whole() -> float:
        return 1000 * median([await person.asks(question) for question in asked])

    async def bare_whole() -> float:
        return 1000 * median([(await bare.asks(question)).whole for question in asked])

    async def first() -> float:
        return 1000 * median([(await person.asks_aloud(question)).first_token for question in asked])

    async def bare_first() -> float:
        return 1000 * median([(await bare.asks(question)).first_token for question in asked])

    figures = []
    for name, ours, straight in (("answer", whole, bare_whole), ("first token", first, bare_first)):
        what = f"{name}, provider at {delay * 1000:.0f} ms"
        found = await compare(bench, ours, straight, what=what)
        figures.append(Figure(5, what, "ms", found.ours, found.bare, goal, found.note))
    return figures

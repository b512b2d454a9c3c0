"""Row 2: twenty long texts at once, all services on one machine."""

from time import perf_counter

from benchmarks import documents
from benchmarks.bare.pipeline import Pipeline
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.documents import File
from benchmarks.figures import Figure, ratio_at_least
from benchmarks.stands import Stand

TEXTS = 20
CHUNKS = 490
STEPS = REPETITIONS + 1


async def measure(bench: Bench) -> list[Figure]:
    stand = await bench.stands.get()
    async with Pipeline(stand) as bare:

        async def ours() -> float:
            files = _texts(stand)
            async with stand.loner() as person:  # as the bare loop has its collection
                began = perf_counter()
                made = await person.uploads(*files)
                seconds = await person.until_ready(made) - began
                page = (await person.http.get("/api/docs", params={"limit": 100})).raise_for_status().json()
                await person.deletes(made)
            return float(sum(item["chunk_count"] for item in page["items"])) / seconds

        async def straight() -> float:
            files = _texts(stand)
            bare.fresh_collection()
            began = perf_counter()
            chunks = sum([await bare.bring(file) for file in files])
            return chunks / (perf_counter() - began)

        what = f"{TEXTS} texts of about {CHUNKS} chunks"
        found = await compare(bench, ours, straight, what=what)
    return [Figure(2, what, "chunks/s", found.ours, found.bare, ratio_at_least(0.5), found.note)]


def _texts(stand: Stand) -> list[File]:
    return [documents.text_file(stand.fresh(), chunks=CHUNKS) for _ in range(TEXTS)]

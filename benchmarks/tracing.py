"""Where the time of one upload and one question goes: `python -m benchmarks.tracing [kafka]`.

The spans are docqa's own, sent to a collector that only remembers; beside them the bare loop's steps.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks import documents
from benchmarks.bare.answering import Answering
from benchmarks.bare.pipeline import Pipeline
from benchmarks.people import Person
from benchmarks.stands import Broker, Stand, Stands
from tests.stubs.collector import CollectorStub, Span

WARM = 20
FEW = 3
EXPORTED_WITHIN = 7.0  # spans are sent every five seconds
PDF_PAGES = 90

Act = Callable[[], Awaitable[object]]
Sides = tuple[Act, Act]
"""Ours, and the bare loop's."""


@dataclass(frozen=True)
class _Taken:
    began: float
    seconds: float


async def trace(broker: Broker, console: Console) -> None:
    """Prints three waterfalls: a note, a long PDF, a question."""
    collector = CollectorStub()
    stands = Stands(seed=1)
    try:
        stand = await stands.get(broker, {"DOCQA_OTLP_ENDPOINT": collector.url})
        async with stand.person() as person, Pipeline(stand) as bare:
            file = documents.text_file(stand.fresh(), chunks=50)
            await person.brings(file)
            await bare.bring(file)
            answering = Answering(bare, stand.provider.base_url)
            for number in range(WARM):
                await person.brings(documents.note(stand.fresh()))
                await bare.bring(documents.note(stand.fresh()))
                await person.asks(documents.question_about(file, number))
                await answering.asks(documents.question_about(file, number))
            question = documents.question_about(file, WARM + 1)
            note, pdf = _note(stand, person, bare), _pdf(stand, person, bare)
            ask: Sides = (lambda: person.asks(question), lambda: answering.asks(question))
            await _show(console, collector, "a note", note, warm=note)
            await _show(console, collector, f"a PDF of {PDF_PAGES} pages", pdf, warm=note)
            await _show(console, collector, "a question", ask, warm=ask)
    finally:
        await stands.close()
        collector.close()


def _note(stand: Stand, person: Person, bare: Pipeline) -> Sides:
    return (
        lambda: person.brings(documents.note(stand.fresh())),
        lambda: bare.bring(documents.note(stand.fresh())),
    )


def _pdf(stand: Stand, person: Person, bare: Pipeline) -> Sides:
    ours, theirs = (documents.pdf(stand.fresh(), pages=PDF_PAGES) for _ in range(2))
    return lambda: person.brings(ours), lambda: bare.bring(theirs)


async def _show(console: Console, collector: CollectorStub, what: str, sides: Sides, *, warm: Sides) -> None:
    took, bare_took = [await _timed(*both) for both in zip(sides, warm, strict=True)]
    began = took.began
    await asyncio.sleep(EXPORTED_WITHIN)
    console.print(
        f"\n[bold]{what}[/]: {1000 * took.seconds:.1f} ms, bare loop {1000 * bare_took.seconds:.1f} ms", highlight=False
    )
    spans = [span for span in collector.spans if began <= span.began <= began + took.seconds]
    collector.spans.clear()
    for line in waterfall(spans, began):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


async def _timed(act: Act, warm: Act) -> _Taken:
    """After a few others, for connections that idle for half a minute are ended, and making one takes 20 ms."""
    for _ in range(FEW):
        await warm()
    began = time.time()
    await act()
    return _Taken(began, time.time() - began)


def waterfall(spans: Sequence[Span], began: float) -> list[str]:
    """A line a span: when it began, how long it took, whose it is and what; deeper ones are indented."""
    depth: dict[str, int] = {}
    lines = []
    for span in sorted(spans, key=lambda span: (span.began, -span.ended)):
        depth[span.id] = depth.get(span.parent, -1) + 1
        at, took = 1000 * (span.began - began), 1000 * (span.ended - span.began)
        lines.append(f"{at:8.1f} {took:8.1f} ms  {span.service:9}{'  ' * depth[span.id]}{span.name[:100]}")
    return lines


def main() -> None:
    broker = Broker.KAFKA if "kafka" in sys.argv[1:] else Broker.EMBEDDED
    asyncio.run(trace(broker, Console(width=160)))


if __name__ == "__main__":
    main()

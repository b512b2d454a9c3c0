"""How much processor time each process spends on a document or a question: `python -m benchmarks.spending [kafka]`.

Steadier than clocks on a machine that does other things as well.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter

from rich.console import Console
from rich.table import Table

from benchmarks import documents, processes
from benchmarks.stands import Broker, Stand, Stands

WARM, COUNT = 20, 80
AT_ONCE = 40
IDLE_SECONDS = 10.0

Act = Callable[[int], Awaitable[object]]


async def spend(broker: Broker, console: Console) -> None:
    """Prints a table: milliseconds of processor time a note, a question, a search, a login, a note of a burst.

    What idling takes in the same time is left out.
    """
    stands = Stands(seed=1)
    try:
        stand = await stands.get(broker)
        async with stand.person() as person:
            file = documents.text_file(stand.fresh(), chunks=50)
            await person.brings(file)
            idle = await _idle(stand)
            acts: dict[str, Act] = {
                "note": lambda _: person.brings(documents.note(stand.fresh())),
                "question": lambda number: person.asks(documents.question_about(file, number)),
                "search": lambda number: person.searches(documents.question_about(file, number)),
                "login": lambda _: person.logs_in(),
            }
            spent = {name: await _spent(stand, act, idle, one_by_one=True) for name, act in acts.items()}
            spent["note of a burst"] = await _spent(stand, acts["note"], idle, one_by_one=False)
    finally:
        await stands.close()
    table = Table("ms of processor time", *spent, "idle, % of a core")
    for process in idle:
        table.add_row(process, *(f"{column[process]:.1f}" for column in spent.values()), f"{100 * idle[process]:.1f}")
    table.add_row("all", *(f"{sum(each.values()):.1f}" for each in spent.values()), f"{100 * sum(idle.values()):.1f}")
    console.print(table)


async def _spent(stand: Stand, act: Act, idle: dict[str, float], *, one_by_one: bool) -> dict[str, float]:
    for number in range(WARM):
        await act(number)
    before, began = _used(stand), perf_counter()
    if one_by_one:
        for number in range(COUNT):
            await act(number)
    else:
        for start in range(0, COUNT, AT_ONCE):
            await asyncio.gather(*(act(number) for number in range(start, start + AT_ONCE)))
    after, took = _used(stand), perf_counter() - began
    return {name: 1000 * (after[name] - before[name] - idle[name] * took) / COUNT for name in after}


async def _idle(stand: Stand) -> dict[str, float]:
    before = _used(stand)
    await asyncio.sleep(IDLE_SECONDS)
    after = _used(stand)
    return {name: (after[name] - before[name]) / IDLE_SECONDS for name in after}


def _used(stand: Stand) -> dict[str, float]:
    engines = ("postgres", "chroma", "broker")
    return {
        **{name: processes.cpu_seconds(stand.service(name)) for name in stand.stack.services},
        **{name: processes.cpu_seconds(stand.engine(name)) for name in engines},
        "provider": processes.cpu_seconds(stand.provider.processes),
        "client": processes.cpu_seconds([os.getpid()]),
    }


def main() -> None:
    broker = Broker.KAFKA if "kafka" in sys.argv[1:] else Broker.EMBEDDED
    asyncio.run(spend(broker, Console(width=140)))


if __name__ == "__main__":
    main()

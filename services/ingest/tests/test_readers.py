"""Documents are read in processes of their own, and nothing that happens there happens to us."""

import asyncio
import json
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from chassis.failures import Permanent, Transient
from ingest.extraction import Extraction
from ingest.limits import Limits
from ingest.readers import Readers
from ingest.reading import Engine
from ingest.scratch import NoRoom
from ingest.verdicts import Verdict

from services.ingest.tests.waiting import children, is_gone, proc, until
from tests.samples import hostile

Order = Callable[..., Extraction]
Pdf = Callable[[list[str]], bytes]


_SLOW = hostile.endless_text(100)

TRAPS = hostile.traps()


async def nursery_of(readers: Readers) -> int:
    return (await readers._ready_nursery()).pid


async def the_reader(readers: Readers) -> int:
    """The one process that reads at the moment, once it has begun."""
    nursery = await nursery_of(readers)
    await until(lambda: children(nursery))
    (reader,) = children(nursery)
    await until(lambda: os.getpgid(reader) == reader)
    return reader


async def gone(pid: int) -> None:
    await until(lambda: is_gone(pid), within=5)


def slow(order: Order, **changes: object) -> Extraction:
    """An order that keeps a reader busy for seconds."""
    return order(_SLOW, **changes)


@asynccontextmanager
async def busy_loop() -> AsyncIterator[list[float]]:
    """For how long the event loop was kept busy, each time between two looks; in its own time, not the machine's."""
    busy: list[float] = []

    async def look() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.005)
            busy.append(time.thread_time() - before)

    looking = asyncio.create_task(look())
    try:
        yield busy
    finally:
        looking.cancel()


async def test_a_document_is_read_in_another_process(readers: Readers, extraction: Order, pdf: Pdf) -> None:
    extracted = await readers.extract(extraction(pdf(["A page.", "Another."])))

    assert (extracted.pages, extracted.chunk_count) == (2, 2)


async def test_many_documents_are_read_at_once(readers: Readers, extraction: Order, pdf: Pdf) -> None:
    orders = [extraction(pdf([f"This is number {number}."] * number)) for number in range(1, 9)]
    found = await asyncio.gather(*(readers.extract(order) for order in orders))

    assert [extracted.pages for extracted in found] == list(range(1, 9))


async def test_a_refusal_comes_with_its_code(readers: Readers, extraction: Order) -> None:
    with pytest.raises(Permanent) as refused:
        await readers.extract(extraction(hostile.header_only()))

    assert refused.value.code == "document.corrupt"
    assert refused.value.detail == Verdict.CORRUPT.detail


async def test_too_much_processor_time_is_the_documents_fault(
    readers: Readers, extraction: Order, limits: Limits
) -> None:
    with pytest.raises(Permanent) as refused:
        await readers.extract(slow(extraction, limits=replace(limits, cpu_seconds=1)))

    assert refused.value.code == "document.too_complex"


BOMBS = {"inflating twice", "endless text", "many cheap pages"}
"""Traps that no engine gets anything out of."""


@pytest.mark.parametrize("engine", list(Engine))
async def test_every_trap_ends_in_time_while_everybody_else_goes_on(
    extraction: Order, limits: Limits, engine: Engine
) -> None:
    bounded = replace(limits, memory_bytes=300 << 20, cpu_seconds=4)
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    readers = Readers(engine)
    fates = {}
    async with readers.running(), busy_loop() as busy:
        for name, trap in TRAPS.items():
            fates[name] = await fate(readers, extraction(trap, limits=bounded, engine=engine))

    assert fates["nothing"] == fates["header only"] == "document.corrupt"
    assert {fates[bomb] for bomb in BOMBS} <= {"document.too_complex", "document.too_many_pages"}
    assert set(fates.values()) <= {"read", *Verdict}
    assert max(busy) < 0.2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before < 20 << 10


async def fate(readers: Readers, order: Extraction) -> str:
    """What becomes of a document; anything but a verdict about it is a failure of ours."""
    try:
        await readers.extract(order)
    except Permanent as refused:
        return refused.code
    return "read"


async def test_a_busy_machine_is_not_the_documents_fault(readers: Readers, extraction: Order, limits: Limits) -> None:
    reading = asyncio.create_task(readers.extract(slow(extraction, limits=replace(limits, wall_seconds=1))))

    with pytest.raises(Transient) as failure:
        await reading

    assert failure.value.code == "processing.timeout"


async def test_a_reader_killed_by_the_machine_is_not_the_documents_fault(readers: Readers, extraction: Order) -> None:
    reading = asyncio.create_task(readers.extract(slow(extraction)))
    os.kill(await the_reader(readers), signal.SIGKILL)

    with pytest.raises(Transient) as failure:
        await reading

    assert failure.value.code == "processing.interrupted"


async def test_a_pdf_that_takes_pdfium_down_is_tried_with_pypdf(readers: Readers, extraction: Order) -> None:
    order = extraction(hostile.many_cheap_pages(2000))
    reading = asyncio.create_task(readers.extract(order))
    os.kill(await the_reader(readers), signal.SIGSEGV)

    assert (await reading).pages == 2000


async def test_what_takes_both_engines_down_is_refused(readers: Readers, extraction: Order) -> None:
    order = extraction(hostile.many_cheap_pages(2000), engine=Engine.PYPDF)
    reading = asyncio.create_task(readers.extract(order))
    os.kill(await the_reader(readers), signal.SIGSEGV)

    with pytest.raises(Permanent) as refused:
        await reading

    assert refused.value.code == "document.too_complex"


async def test_a_reader_that_finds_the_disk_full_says_so(readers: Readers, extraction: Order) -> None:
    order = extraction(b"some text", media_type="text/plain")
    order.chunks_file.symlink_to(Path("/dev/full"))  # every write to it fails with ENOSPC

    with pytest.raises(NoRoom):
        await readers.extract(order)


async def test_a_reader_that_cannot_write_its_results_is_tried_again(readers: Readers, extraction: Order) -> None:
    order = extraction(b"some text", media_type="text/plain")
    order.chunks_file.mkdir()

    with pytest.raises(Transient) as failure:
        await readers.extract(order)

    assert failure.value.code == "processing.interrupted"


async def test_a_reading_that_nobody_wants_any_more_is_killed(readers: Readers, extraction: Order) -> None:
    reading = asyncio.create_task(readers.extract(slow(extraction)))
    reader = await the_reader(readers)
    reading.cancel()

    await gone(reader)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await readers.extract(extraction(b"next", media_type="text/plain"))).chunk_count == 1


async def test_a_reader_that_is_stopped_is_ended_with_its_nursery(extraction: Order, limits: Limits) -> None:
    readers = Readers(Engine.PDFIUM, grace_seconds=0.5)
    async with readers.running():
        reading = asyncio.create_task(readers.extract(slow(extraction, limits=replace(limits, wall_seconds=1))))
        reader = await the_reader(readers)
        os.kill(reader, signal.SIGSTOP)

        with pytest.raises(Transient):
            await reading
        await gone(reader)
        assert (await readers.extract(extraction(b"next", media_type="text/plain"))).chunk_count == 1


async def test_a_nursery_that_died_is_replaced(readers: Readers, extraction: Order) -> None:
    reading = asyncio.create_task(readers.extract(slow(extraction)))
    reader, nursery = await the_reader(readers), await nursery_of(readers)
    os.kill(nursery, signal.SIGKILL)

    with pytest.raises(Transient):
        await reading
    await gone(reader)
    assert (await readers.extract(extraction(b"next", media_type="text/plain"))).chunk_count == 1
    assert await nursery_of(readers) != nursery


async def test_nothing_is_left_running_when_the_service_stops(extraction: Order) -> None:
    readers = Readers(Engine.PYPDF)
    async with readers.running():
        reading = asyncio.create_task(readers.extract(slow(extraction, engine=Engine.PYPDF)))
        reader, nursery = await the_reader(readers), await nursery_of(readers)

    with pytest.raises(Transient):
        await reading
    await gone(reader)
    await gone(nursery)


async def test_nothing_is_left_running_when_the_service_is_killed(readers: Readers, extraction: Order) -> None:
    """The orders end: that is all that a nursery sees of a service that was killed."""
    reading = asyncio.create_task(readers.extract(slow(extraction)))
    reader, nursery = await the_reader(readers), await readers._ready_nursery()
    orders = nursery._client._process.stdin
    assert orders is not None
    orders.close()

    with pytest.raises(Transient):
        await reading
    await gone(reader)


async def test_a_reader_knows_none_of_our_secrets(extraction: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCQA_INGEST_DATABASE_URL", "postgresql+asyncpg://ingest:canary@/ingest")
    readers = Readers(Engine.PDFIUM)
    async with readers.running():
        environment = proc(await nursery_of(readers), "environ")

    assert "canary" not in environment


async def test_a_reader_is_bounded_by_the_kernel(readers: Readers, extraction: Order, limits: Limits) -> None:
    reading = asyncio.create_task(readers.extract(slow(extraction)))
    reader = await the_reader(readers)
    await until(lambda: int(proc(reader, "oom_score_adj")) == 1000)
    bounds = proc(reader, "limits").splitlines()

    assert any(line.split()[:4] == ["Max", "cpu", "time", str(limits.cpu_seconds)] for line in bounds)
    assert any(line.split()[:5] == ["Max", "core", "file", "size", "0"] for line in bounds)
    assert not any(line.startswith("Max address space") and "unlimited" in line for line in bounds)
    reading.cancel()
    await asyncio.wait([reading])


async def test_starting_is_over_when_the_first_document_comes(extraction: Order) -> None:
    readers = Readers(Engine.PDFIUM)
    async with readers.running():
        first = readers.extract(extraction(b"one", media_type="text/plain"))
        second = readers.extract(extraction(b"two", media_type="text/plain"))
        found = await asyncio.gather(first, second)

    assert [extracted.chunk_count for extracted in found] == [1, 1]


async def test_a_nursery_that_does_not_come_up_is_no_documents_fault(extraction: Order) -> None:
    readers = Readers(cast(Engine, "no such engine"))

    with pytest.raises(Transient):
        await readers.extract(extraction(b"one", media_type="text/plain"))


def test_an_order_is_one_line(extraction: Order) -> None:
    assert json.loads(extraction(b"x", filename="two\nlines").to_json())["filename"] == "two\nlines"

"""Reading documents in processes that can be killed, and what it means when one of them dies."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from chassis.failures import Failure, Transient
from chassis.fork_client import Ended

from ingest.extraction import NO_ROOM, Extracted, Extraction
from ingest.nursery_process import NurseryProcess
from ingest.reading import PDF, Engine
from ingest.scratch import NoRoom
from ingest.verdicts import Refused, Verdict

_GRACE_SECONDS = 5.0
"""A reader whose wall time is up ends itself. If it has not by then, its whole nursery is ended."""
_GREEDY_SHARE = 0.5
"""An engine that crashed with so much of its memory used up did not crash over a detail of the file."""


class Readers:
    """Reads each document in a process of its own, forked from one that is kept ready."""

    def __init__(self, engine: Engine, grace_seconds: float = _GRACE_SECONDS) -> None:
        self._engine = engine
        self._grace_seconds = grace_seconds
        self._nursery: NurseryProcess | None = None
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have a nursery ready before the first document comes, and none left behind."""
        warming = asyncio.create_task(self._ready_nursery())
        try:
            yield
        finally:
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)  # a document that finds no nursery says why
            if self._nursery is not None:
                await self._nursery.stop()

    async def extract(self, wanted: Extraction) -> Extracted:
        """Read a document; its results are in `wanted.folder` then.

        Raises `Permanent` with a verdict if the document is the reason that it cannot be read, `Transient` if the
        machine is, `NoRoom` if the disk is. A PDF that takes pdfium down is tried with pypdf.
        """
        ended = await self._read(wanted)
        if ended.status == 0:
            return await _answer(wanted.answer_file)
        if ended.status == NO_ROOM:
            raise NoRoom
        failure = _failure(ended, wanted)
        if failure is not None:
            raise failure
        if wanted.media_type == PDF and wanted.engine is Engine.PDFIUM:
            return await self.extract(replace(wanted, engine=Engine.PYPDF))
        raise _too_complex()

    async def _read(self, wanted: Extraction) -> Ended:
        nursery = await self._ready_nursery()
        try:
            async with asyncio.timeout(wanted.limits.wall_seconds + self._grace_seconds):
                return await nursery.read(wanted)
        except TimeoutError:
            await nursery.stop()
            return Ended(status=-signal.SIGALRM, peak=0)

    async def _ready_nursery(self) -> NurseryProcess:
        async with self._starting:
            if self._nursery is None or not self._nursery.is_alive:
                self._nursery = await NurseryProcess.start(self._engine)
            return self._nursery


async def _answer(file: Path) -> Extracted:
    extracted = Extracted.from_bytes(await asyncio.to_thread(file.read_bytes))
    if extracted.verdict is not None:
        raise Refused(extracted.verdict).as_failure()
    return extracted


def _failure(ended: Ended, wanted: Extraction) -> Failure | None:
    """Why a reader ended that did not finish; None if it crashed, and another engine may not."""
    match -ended.status:
        case signal.SIGXCPU:
            return _too_complex()
        case signal.SIGALRM:
            return Transient("processing.timeout", "Reading it took too long on a busy machine.")
        case signal.SIGKILL:
            return Transient("processing.interrupted", "The machine ended the process that read it.")
    if ended.status > 0:
        return Transient("processing.interrupted", "The process that read it could not finish.")
    # pdfium aborts where it gets no more memory.
    greedy = ended.peak > wanted.limits.memory_bytes * _GREEDY_SHARE
    return _too_complex() if greedy else None


def _too_complex() -> Failure:
    return Refused(Verdict.TOO_COMPLEX).as_failure()

"""Answers being written in this process: each goes on to its end, whether or not somebody still listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from contracts.questions import Answer, AskSources, AskToken

T = TypeVar("T")

Event = AskSources | AskToken | Answer
"""What a reader is told, in this order: the sources once, tokens, and the whole answer at the end."""


class RunningAnswer:
    """One answer on its way to being stored."""

    def __init__(self, chat: UUID, answer_id: UUID) -> None:
        self.chat = chat
        self.id = answer_id
        self.stopped = False
        self._step: asyncio.Future[Any] | None = None
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._held_back: list[AskSources | AskToken] = []
        self._task: asyncio.Task[Answer] | None = None

    def start(self, write: Callable[["RunningAnswer"], Awaitable[Answer]]) -> asyncio.Task[Answer]:
        """Begin to write; the task lives on without its listeners."""
        self._task = asyncio.create_task(self._written(write))
        return self._task

    def emit(self, event: AskSources | AskToken) -> None:
        self._let_go()
        self._events.put_nowait(event)

    def emit_next(self, event: AskSources | AskToken) -> None:
        """The same, but a task that is created now does first what it can without waiting. Events keep their order."""
        self._held_back.append(event)
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._let_go)

    def _let_go(self) -> None:
        for event in self._held_back:
            self._events.put_nowait(event)
        self._held_back.clear()

    async def unless_stopped(self, step: Awaitable[T]) -> T | None:
        """Its result, or None if somebody stops the answer before it is done: that ends it."""
        self._step = asyncio.ensure_future(step)
        if self.stopped:
            self._step.cancel()
        try:
            result: T = await self._step
        except asyncio.CancelledError:
            if not self.stopped:
                raise
            return None
        return result

    def stop(self) -> None:
        """Find and say no more; what was said is kept."""
        self.stopped = True
        if self._step is not None:
            self._step.cancel()

    async def result(self) -> Answer:
        """The whole answer, once it is stored. Leaving does not end it."""
        assert self._task is not None, "not started"
        return await asyncio.shield(self._task)

    async def events(self, silence: float) -> AsyncIterator[Sequence[Event]]:
        """What happens, as it happens, and together what has happened together; nothing after `silence` seconds.

        Raises what it ended with.
        """
        over = False
        while not over:
            happened = list[Event | None]()
            with suppress(TimeoutError):
                async with asyncio.timeout(silence):
                    happened.append(await self._events.get())
            while not self._events.empty():
                happened.append(self._events.get_nowait())
            over = None in happened
            if told := [event for event in happened if event is not None]:
                yield told
            elif not over:
                yield ()
        yield [await self.result()]

    async def _written(self, write: Callable[["RunningAnswer"], Awaitable[Answer]]) -> Answer:
        try:
            return await write(self)
        finally:
            self._let_go()
            self._events.put_nowait(None)


class RunningAnswers:
    """All of them, so that they can be stopped by id, and waited for when the process ends."""

    def __init__(self) -> None:
        self._running: dict[UUID, RunningAnswer] = {}
        self._tasks: set[asyncio.Task[Answer]] = set()
        self.some = asyncio.Event()
        self._over_at: float | None = None

    def start(self, answer: RunningAnswer, write: Callable[[RunningAnswer], Awaitable[Answer]]) -> None:
        task = answer.start(write)
        self._running[answer.id] = answer
        self._tasks.add(task)
        self.some.set()
        task.add_done_callback(lambda done: self._ended(answer, done))

    @property
    def ids(self) -> list[UUID]:
        return list(self._running)

    def stop(self, ids: Iterable[UUID]) -> None:
        """Stop those that are being written here."""
        for answer_id in ids:
            if (answer := self._running.get(answer_id)) is not None:
                answer.stop()

    async def finish(self, grace: float) -> None:
        """Wait until all are stored; those that are not done in time are stopped, and stored as far as they got.

        Both together take twice `grace` seconds at most, counted from the first time that this is asked for.
        """
        clock = asyncio.get_running_loop().time
        if self._over_at is None:
            self._over_at = clock() + 2 * grace
        for until in (self._over_at - grace, self._over_at):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=max(0.0, until - clock()))
            self.stop(self.ids)

    def _ended(self, answer: RunningAnswer, task: asyncio.Task[Answer]) -> None:
        self._running.pop(answer.id, None)
        self._tasks.discard(task)
        if not self._running:
            self.some.clear()
        if not task.cancelled():
            task.exception()  # marks it as seen: whoever still listens is told, and it is in the log

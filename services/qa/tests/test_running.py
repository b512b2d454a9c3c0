"""Answers under way when the process ends."""

import asyncio

from chassis.ids import uuid7
from contracts.questions import Answer
from qa.running import RunningAnswer, RunningAnswers


async def test_however_often_the_end_is_announced_it_takes_no_longer() -> None:
    async def is_never_stored(_: RunningAnswer) -> Answer:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if over:
                    raise

    over = list[bool]()
    running = RunningAnswers()
    answer = RunningAnswer(uuid7(), uuid7())
    running.start(answer, is_never_stored)
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        await running.finish(grace=0.2)
    assert asyncio.get_running_loop().time() - began < 1
    assert answer.stopped
    over.append(True)
    for task in list(running._tasks):
        task.cancel()

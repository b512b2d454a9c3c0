"""Jobs of one subject that are done at the same time end in one transaction.

Each final transaction locks the subject's fence: one by one they would wait for each other, and each for a commit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from chassis.transactions import Transactions

from messaging import finishing
from messaging.finishing import Act, Ended
from messaging.jobs import Job


@dataclass(eq=False)
class _Waiting:
    job: Job
    act: Act
    ended: Ended | None = None
    alone: bool = False
    """It was tried together with others, in vain."""


@dataclass(eq=False)
class _Queue:
    """Those of one subject; one transaction at a time."""

    waiting: list[_Waiting] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class EndingTogether:
    """Ends what is done of one kind of work."""

    def __init__(self, transactions: Transactions, *, heeds_fence: bool) -> None:
        self._transactions = transactions
        self._heeds_fence = heeds_fence
        self._queues: dict[str, _Queue] = {}

    async def done(self, job: Job, act: Act) -> Ended:
        """What became of it; as `finishing.end` says, and raising whatever that raises."""
        mine = _Waiting(job, act)
        queue = self._queues.setdefault(job.subject, _Queue())
        queue.waiting.append(mine)
        try:
            async with queue.turn:
                await asyncio.sleep(0)  # whoever has become ready together with this one joins it
                return mine.ended or await self._end(mine, queue)
        finally:
            queue.waiting.remove(mine)
            if not queue.waiting:
                del self._queues[job.subject]

    async def _end(self, mine: _Waiting, queue: _Queue) -> Ended:
        group = [each for each in queue.waiting if each.ended is None and not each.alone]
        if len(group) > 1 and not mine.alone:
            try:
                return await self._end_all(group)
            except Exception:  # each finds out for itself what stands against it
                for each in group:
                    each.alone = True
        return await finishing.end(
            self._transactions, mine.job, state="done", act=mine.act, heeds_fence=self._heeds_fence
        )

    async def _end_all(self, group: Sequence[_Waiting]) -> Ended:
        ended = await finishing.end_together(
            self._transactions, [(each.job, each.act) for each in group], heeds_fence=self._heeds_fence
        )
        for each in group:
            each.ended = ended
        return ended

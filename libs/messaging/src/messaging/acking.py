"""Telling the broker how far the handling has come, behind the handling and beside it."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition

COMMIT_SECONDS = 5.0  # without a broker a commit may never return
PAUSE = 0.2  # seconds; one commit then covers all records of a burst, and is made when a document is on its way no more

log = structlog.stdlib.get_logger(__name__)


class Committing(Protocol):
    """What is used of a consumer."""

    def assignment(self) -> set[TopicPartition] | frozenset[TopicPartition]: ...

    async def commit(self, offsets: dict[TopicPartition, int]) -> None: ...


class Acknowledgements:
    """Commits the positions up to which everything is handled. A record is done only after its transaction's commit.

    Not at once: the next records are handled first, and so are the facts that follow from this one. A process that is
    killed meanwhile hears the last records again.
    """

    def __init__(self, consumer: Committing) -> None:
        self._consumer = consumer
        self._next: dict[TopicPartition, int] = {}
        self._some = asyncio.Event()
        self._busy = asyncio.Lock()

    def done(self, topic: str, partition: int, offset: int) -> None:
        """This record, and with it everything before it in its partition, has been handled."""
        self._next[TopicPartition(topic, partition)] = offset + 1
        self._some.set()

    def forget(self, partitions: set[TopicPartition]) -> None:
        """These are somebody else's now."""
        for partition in partitions:
            self._next.pop(partition, None)

    async def run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(PAUSE)
            if not await self.flush():
                await asyncio.sleep(1)

    async def flush(self) -> bool:
        """Commit what is done and not yet committed. False if the broker did not take it; then it stays to be done."""
        async with self._busy:
            self._some.clear()
            assigned = self._consumer.assignment()
            offsets = {partition: offset for partition, offset in self._next.items() if partition in assigned}
            self._next.clear()
            if not offsets:
                return True
            try:
                async with asyncio.timeout(COMMIT_SECONDS):
                    await self._consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                # Another member has these partitions now: it hears the records again, and nothing changes.
                return True
            except (KafkaError, TimeoutError) as error:
                log.warning("positions were not committed", error=type(error).__name__)
                self._keep(offsets)
                return False
            return True

    def _keep(self, offsets: Mapping[TopicPartition, int]) -> None:
        for partition, offset in offsets.items():
            self._next.setdefault(partition, offset)
        self._some.set()

"""What a service says about one kind of work; `messaging.working` runs it."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import ClassVar

from chassis.failures import Failure
from contracts.topics import DOCUMENTS
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.fences import Fence
from messaging.jobs import Job

Finish = Callable[[AsyncSession, Fence], Awaitable[None]]
"""What the final transaction does beside ending the job: the fence is locked, the attempt has been checked.

It may be called again if the transaction has to be repeated, so it does all its work on the session.
"""


class Work(ABC):
    """One kind of work. `run` does it and touches the outside; the rest happens in transactions of the harness.

    `run` raises the kinds of failure of `chassis.failures`: *transient* is tried again with back-off, *permanent* gives
    up at once, *misconfigured* pauses this kind and burns no try. Anything else counts as transient.
    It is cancelled when its lease is lost, when its version has become too late, and when the process stops.
    """

    kind: str
    about: ClassVar[str] = DOCUMENTS.key
    """What logs and traces call the subject."""
    concurrency: int = 1
    light_concurrency: int = 0
    """Places beside these, for light jobs alone: those that need nothing of what the others have to share."""
    lease: timedelta = timedelta(seconds=30)
    max_tries: int | None = 5
    """None: never fails; back-off up to its ceiling, and then an alert."""
    backoff: timedelta = timedelta(seconds=1)
    backoff_ceiling: timedelta = timedelta(minutes=5)

    @property
    def heeds_fence(self) -> bool:
        """Whether a deletion, a live newer version or a failure ends it. Erasing must go on: it never fails either."""
        return self.max_tries is not None

    async def begin(self, session: AsyncSession, fence: Fence, job: Job) -> None:  # noqa: B027 - most say nothing
        """Called in the transaction that takes the job for the first time."""

    @abstractmethod
    async def run(self, job: Job) -> Finish:
        """Do the work, outside any transaction, and say what the final one is to do."""

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:  # noqa: B027
        """Called in the transaction that ends the job as failed. Never called where `max_tries` is None."""

    async def lost(self, job: Job) -> None:  # noqa: B027
        """Another attempt has won, or will: remove what belongs to this attempt alone."""

    async def erase_late(self, job: Job) -> None:  # noqa: B027
        """What this job wrote outside came too late: erase it. Must be harmless if there is nothing."""

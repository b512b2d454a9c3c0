"""What a service's `main.py` puts together: everything that delivers, behind one door."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from chassis.database import Sessions, create_sessions
from chassis.health import Check
from chassis.settings import ServiceSettings
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.chores import Chore
from messaging.listening import Listener
from messaging.subscribing import Subscription
from messaging.workers import Work


class Delivery:
    """Sends what was said, hears what others say, does the work. Any of the lists may be empty.

    `on_wiped` is called when the broker is found to have lost its topics.
    """

    def __init__(
        self,
        service: str,
        settings: ServiceSettings,
        engine: AsyncEngine,
        *,
        sessions: Sessions | None = None,
        subscriptions: Sequence[Subscription] = (),
        works: Sequence[Work] = (),
        chores: Sequence[Chore] = (),
        on_wiped: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._service = service
        self._settings = settings
        self._engine = engine
        self._sessions = sessions or create_sessions(engine)
        self._subscriptions = subscriptions
        self._works = works
        self._chores = chores
        self._on_wiped = on_wiped
        self.listener = Listener(engine)

    @property
    def readiness(self) -> Mapping[str, Check]:
        """`kafka`: every subscription has its consumer; `work`: no kind of work is paused for its configuration."""
        raise NotImplementedError

    @property
    def liveness(self) -> Mapping[str, Check]:
        """`progress`: no consumer has stopped while there is something to consume."""
        raise NotImplementedError

    def wake(self, kind: str) -> None:
        """There is work of this kind: look now."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver until the block ends; then hand back what is being worked on, and stop."""
        yield

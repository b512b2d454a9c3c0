"""What a service's `main.py` puts together: everything that delivers, behind one door."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from chassis.database import Sessions, create_sessions
from chassis.health import Check
from chassis.process import End, end_process
from chassis.settings import ServiceSettings
from chassis.transactions import Transactions
from contracts.topics import Topic
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging import gauges, topics
from messaging.broker_access import BrokerAccess
from messaging.broker_memory import BrokerMemory
from messaging.chores import Chore, ChoreRunner
from messaging.consuming import Consumption
from messaging.handling import Handling
from messaging.housekeeping import housekeeping
from messaging.listening import Listener
from messaging.outbox import types_said
from messaging.producing import Producer
from messaging.pulsing import Pulse
from messaging.relay import Relay, WipedHook
from messaging.replaying import Replayer
from messaging.subscribing import Subscription, group_of
from messaging.watchdog import Watchdog
from messaging.workers import Work
from messaging.working import workers_of

AGAIN = 1.0
DRAIN_SECONDS = 3.0
STOP_SECONDS = 12.0  # all of it together stays below the 30 s after which a supervisor kills
CANCEL_SECONDS = 4.0
SELDOM = 8  # times as long
SELDOM_MS = 100

log = structlog.stdlib.get_logger(__name__)


class Delivery:
    """Sends what was said, hears what others say, does the work. Any of the lists may be empty.

    `on_wiped` is called when a topic is found to be new, or to have lost its records.
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
        on_wiped: WipedHook | None = None,
        end: End = end_process,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._sessions = sessions or create_sessions(engine)
        self._end = end
        self.listener = Listener(engine)
        self._memory = BrokerMemory()
        self._doubt = asyncio.Event()
        self._kafka = BrokerAccess.of(settings)
        self._producer = Producer(self._kafka)
        self.transactions = Transactions(engine, self._sessions)
        self._relay = Relay(
            self.transactions,
            self._producer,
            self._memory,
            on_wiped=on_wiped,
            on_trouble=self._doubt.set,
        )
        self._kinds = [work.kind for work in works]
        self._workers = [worker for work in works for worker in workers_of(work, self.transactions, self.wake)]
        self._pulse = Pulse(self.transactions, self._kinds, self.wake)
        self._chores = {chore.name: ChoreRunner(chore, self._sessions) for chore in (housekeeping(), *chores)}
        self._handlings = {
            each.topic.name: Handling(each, self.transactions, workers=self._workers, end=end) for each in subscriptions
        }
        self._consumptions = [self._consumption(service, each.topic) for each in subscriptions]
        self._watchdog = Watchdog(
            self._consumptions,
            self._memory,
            on_lost=self._relay.broker_lost,
            on_trouble=self._doubt.set,
            end=end,
        )
        self._replayer = Replayer(self._sessions, self._handlings, woken=self.listener.subscribe("dead_letters"))
        # What is said and noted in these transactions wakes relay and workers directly.
        self.transactions.on_commit(self._committed)
        self.listener.on("outbox", self._relay.said, unless_from=self.transactions.is_served_by)
        self.listener.on("jobs", self._notified, unless_from=self.transactions.is_served_by)
        self.listener.on("fences", self._fence_changed)

    @property
    def readiness(self) -> Mapping[str, Check]:
        """`kafka`: every subscription has its partitions; `work`: no kind stands still for its configuration.

        A service that serves without the broker leaves `kafka` out.
        """
        return {"kafka": self._consuming, "work": self._configured}

    @property
    def liveness(self) -> Mapping[str, Check]:
        """`progress`: no consumer has stopped while there is something to consume."""
        return {"progress": self._watchdog.alive}

    def wake(self, kind: str) -> None:
        """There is work of this kind: look now."""
        for worker in self._workers:
            if worker.kind == kind:
                worker.wake()

    async def hurry(self, chore: str) -> None:
        """Make a chore due now, instead of when its time has come."""
        await self._chores[chore].hurry()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver until the block ends; then hand back what is being worked on, send what is left, and stop."""
        background = [
            self._keep(self.listener.run(), "listener"),
            self._keep(self._relay.run(), "relay"),
            self._keep(self._watchdog.run(), "watchdog"),
            self._keep(self._replayer.run(), "replayer"),
            self._keep(gauges.run(self._engine, self._kinds), "gauges"),
            self._keep(self._keep_topics(), "topics"),
            self._keep(self._pulse.run(), "pulse"),
            *(self._keep(runner.run(), f"chore {name}") for name, runner in self._chores.items()),
        ]
        working = [self._keep(worker.run(), f"work {worker.name}") for worker in self._workers]
        consuming = self._keep(self._consume(), "consumers")
        try:
            yield
        finally:
            for worker in self._workers:
                worker.stop()
            consuming.cancel()
            await _wait_for([consuming, *working], STOP_SECONDS)
            for task in (*working, *background):
                task.cancel()
            await _wait_for([*working, *background], CANCEL_SECONDS)
            await self._send_the_rest()
            await self.transactions.close()

    def _consumption(self, service: str, topic: Topic) -> Consumption:
        return Consumption(
            kafka=self._kafka,
            topic=topic.name,
            group=group_of(service, topic.name),
            handling=self._handlings[topic.name],
            memory=self._memory,
            fetch_max_wait_ms=self._fetch_max_wait_ms(topic),
            session_timeout_ms=self._settings.kafka_session_timeout_ms,
            on_new_log=self._relay.broker_lost,
            end=self._end,
        )

    def _fetch_max_wait_ms(self, topic: Topic) -> int:
        """A broker that does not answer a waiting fetch is asked often only for what people wait for."""
        wait = self._settings.kafka_fetch_max_wait_ms
        return wait if topic.awaited else max(wait, min(wait * SELDOM, SELDOM_MS))

    async def _consume(self) -> None:
        async with asyncio.TaskGroup() as group:
            for consumption in self._consumptions:
                group.create_task(consumption.run())

    async def _keep_topics(self) -> None:
        """Create the topics that are missing: at the start, and whenever the broker does not do as it should."""
        while True:
            self._doubt.clear()
            try:
                await topics.ensure(self._kafka, on_created=self._relay.broker_lost)
            except Exception as error:
                log.warning("the topics could not be looked at", error=str(error) or type(error).__name__)
                await asyncio.sleep(AGAIN)
                continue
            await self._doubt.wait()
            await asyncio.sleep(AGAIN)

    async def _send_the_rest(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._relay.drain()
        await self._producer.stop()

    def _committed(self, memory: Mapping[str, Any]) -> None:
        for type_ in types_said(memory):
            self._relay.said(type_)

    def _notified(self, kind: str | None) -> None:
        for name in self._kinds if kind is None else (kind,):
            self.wake(name)

    def _fence_changed(self, subject: str | None) -> None:
        for worker in self._workers:
            worker.look_at_fences(subject)

    async def _consuming(self) -> str | None:
        away = [consumption.topic for consumption in self._consumptions if not consumption.joined.is_set()]
        return f"not consuming {', '.join(away)}" if away else None

    async def _configured(self) -> str | None:
        reasons = [worker.pause.reason for worker in self._workers if worker.pause.reason]
        return "; ".join(dict.fromkeys(reasons)) or None

    def _keep(self, running: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Something that runs as long as the process. If it ends by an error, so does the process."""
        task = asyncio.create_task(running, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a part of the delivery ended", part=task.get_name(), exc_info=error)
            self._end(f"{task.get_name()} ended: {type(error).__name__}")


async def _wait_for(tasks: Sequence["asyncio.Task[None]"], seconds: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)

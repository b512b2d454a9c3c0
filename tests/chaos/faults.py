"""What goes wrong, drawn at random: the same seed breaks the same things in the same order."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
from docqa.embedded.children import Child
from docqa.service import Service

from tests.engines.choosing import Broker
from tests.engines.native_minio import NativeMinio
from tests.integration.cluster import Cluster

BETWEEN = (2.0, 5.0)
"""Seconds from one fault to the next."""

SHORT = (1.0, 10.0)
"""Seconds that a store does not answer."""

OUTLIVING_A_LEASE = (32.0, 45.0)
"""Seconds that a service is frozen: others have taken its work, and it wakes in the middle of it."""

CUT = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

Fault = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Breakable:
    """All that comes to harm. PostgreSQL and Chroma are the stack's own, which starts them again when they end."""

    cluster: Cluster
    broker: Broker
    minio: NativeMinio


class Faults:
    """`happen` does so many of them and counts them."""

    def __init__(self, breakable: Breakable, drawn: random.Random) -> None:
        self._cluster = breakable.cluster
        self._broker = breakable.broker
        self._minio = breakable.minio
        self._drawn = drawn
        self._thaws: list[asyncio.Task[None]] = []
        self.counted: Counter[str] = Counter()

    async def happen(self, number: int, *, wipes: int) -> None:
        """`wipes` of them lose everything that Kafka holds, spread over the run."""
        losing = set(self._drawn.sample(range(number), wipes))
        for turn in range(number):
            await asyncio.sleep(self._drawn.uniform(*BETWEEN))
            if turn in losing:
                await self._broker.wipe()
                self.counted["Kafka lost its disk"] += 1
                continue
            (name,) = self._drawn.choices(list(self._weights), weights=list(self._weights.values()))
            await self._kinds[name]()
            self.counted[name] += 1
        await asyncio.gather(*self._thaws)

    @property
    def _weights(self) -> Mapping[str, int]:
        return {
            "service killed": 56,
            "service frozen": 10,
            "database connections cut": 6,
            "PostgreSQL crashed": 4,
            "Chroma killed": 5,
            "Chroma stopped": 5,
            "MinIO killed": 5,
            "MinIO stopped": 3,
            "Kafka killed": 3,
            "Kafka stopped": 3,
        }

    @property
    def _kinds(self) -> Mapping[str, Fault]:
        return {
            "service killed": self._kill_service,
            "service frozen": self._freeze_service,
            "database connections cut": self._cut,
            "PostgreSQL crashed": self._crash_postgres,
            "Chroma killed": self._kill_chroma,
            "Chroma stopped": self._stop_chroma,
            "MinIO killed": self._kill_minio,
            "MinIO stopped": self._stop_minio,
            "Kafka killed": self._kill_kafka,
            "Kafka stopped": self._stop_kafka,
        }

    async def _kill_service(self) -> None:
        """Those of the stack are started again by it, the replicas at once."""
        victim = self._some_service()
        assert victim.child is not None
        victim.child.kill()
        if victim in self._cluster.replicas:
            await victim.start()

    async def _freeze_service(self) -> None:
        """It goes on when its work has long been done by others, while other faults happen."""
        seconds = self._drawn.uniform(*OUTLIVING_A_LEASE)
        self._thaws.append(asyncio.create_task(_frozen(self._some_service().child, seconds)))

    async def _cut(self) -> None:
        assert self._cluster.stack.postgres is not None
        url = self._cluster.stack.postgres.url("postgres").replace("+asyncpg", "", 1)
        with suppress(asyncpg.PostgresError, OSError):
            connection = await asyncpg.connect(url)
            await connection.fetchval(CUT)
            await connection.close()

    async def _crash_postgres(self) -> None:
        """All its processes end at once, and the next start recovers from the log."""
        postgres = self._cluster.stack.postgres
        assert postgres is not None
        assert postgres.child is not None
        postgres.child.send(signal.SIGQUIT)

    async def _kill_chroma(self) -> None:
        chroma = self._cluster.stack.chroma
        assert chroma is not None
        assert chroma.child is not None
        chroma.child.kill()

    async def _stop_chroma(self) -> None:
        assert self._cluster.stack.chroma is not None
        await _frozen(self._cluster.stack.chroma.child, self._drawn.uniform(*SHORT))

    async def _kill_minio(self) -> None:
        assert self._minio.child is not None
        self._minio.child.kill()
        await self._minio.start()

    async def _stop_minio(self) -> None:
        await _frozen(self._minio.child, self._drawn.uniform(*SHORT))

    async def _kill_kafka(self) -> None:
        await self._broker.kill()
        await self._broker.start()

    async def _stop_kafka(self) -> None:
        await self._broker.pause()
        await asyncio.sleep(self._drawn.uniform(*SHORT))
        await self._broker.resume()

    def _some_service(self) -> Service:
        return self._drawn.choice([*self._cluster.stack.services.values(), *self._cluster.replicas])


async def _frozen(child: Child | None, seconds: float) -> None:
    assert child is not None
    child.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    child.send(signal.SIGCONT)

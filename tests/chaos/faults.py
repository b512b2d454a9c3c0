"""What goes wrong, drawn by lot: the same seed breaks the same things in the same order."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import asyncpg
from docqa.service import Service

from tests.engines.choosing import Broker
from tests.integration.cluster import Cluster

BETWEEN = (2.0, 5.0)
"""Seconds from one fault to the next."""

CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname LIKE 'docqa-%' AND pid <> pg_backend_pid()"
)

Fault = Callable[[], Awaitable[None]]


class Faults:
    """`happen` does so many of them and counts them."""

    def __init__(self, cluster: Cluster, broker: Broker, postgres_url: str, drawn: random.Random) -> None:
        self._cluster = cluster
        self._broker = broker
        self._postgres = postgres_url.replace("+asyncpg", "", 1)
        self._drawn = drawn
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

    @property
    def _weights(self) -> Mapping[str, int]:
        return {"service killed": 84, "database connections cut": 8, "Kafka killed": 4, "Kafka stopped": 4}

    @property
    def _kinds(self) -> Mapping[str, Fault]:
        return {
            "service killed": self._kill,
            "database connections cut": self._cut,
            "Kafka killed": self._kill_kafka,
            "Kafka stopped": self._stop_kafka,
        }

    async def _kill(self) -> None:
        """Those of the stack are started again by it, the replicas at once."""
        everyone = [*self._cluster.stack.services.values(), *self._cluster.replicas]
        victim: Service = self._drawn.choice(everyone)
        assert victim.child is not None
        victim.child.kill()
        if victim in self._cluster.replicas:
            await victim.start()

    async def _cut(self) -> None:
        connection = await asyncpg.connect(self._postgres)
        with suppress(asyncpg.PostgresError):
            await connection.fetchval(CUT)
        await connection.close()

    async def _kill_kafka(self) -> None:
        await self._broker.kill()
        await self._broker.start()

    async def _stop_kafka(self) -> None:
        await self._broker.pause()
        await asyncio.sleep(self._drawn.uniform(1, 10))
        await self._broker.resume()

"""The five services on real engines, some of them several times."""

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docqa import environment, ports
from docqa.environment import SERVICES, variable
from docqa.service import READY_WITHIN, Service
from docqa.stack import Stack
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.stubs.providers import OpenAIStub

REPLICAS = {"embedder": 4, "gateway": 2, "auth": 2, "ingest": 2, "qa": 2}

Row = Mapping[str, Any]


def told_of(provider: OpenAIStub) -> dict[str, str]:
    """Embedding by a provider costs no processor time here, so that there is enough for a dozen processes."""
    return {
        "DOCQA_EMBEDDING_MODEL": "openai:text-embedding-3-small",
        "DOCQA_EMBEDDING_DIMENSION": "256",
        "DOCQA_OPENAI_BASE_URL": provider.base_url,
        "DOCQA_OPENAI_API_KEY": provider.api_key,
    }


class Cluster:
    """A stack, and replicas beside it that nothing starts again. `provider` embeds for all of them."""

    def __init__(self, stack: Stack, user: Mapping[str, str], provider: OpenAIStub) -> None:
        self.stack = stack
        self.user = user
        self.provider = provider
        self.replicas: list[Service] = []

    @property
    def gateways(self) -> list[str]:
        """The public addresses, that of the stack first."""
        return [self.stack.url, *(replica.url for replica in self.of("gateway"))]

    @property
    def kafka(self) -> str:
        return self.stack.addresses.kafka

    @property
    def processes(self) -> dict[str, int]:
        """The id of every process that runs: the same again means that none has ended."""
        services = [*self.stack.services.values(), *self.replicas]
        return {
            f"{service.name} at {service.url}": service.child.pid
            for service in services
            if service.child is not None and service.child.running
        }

    @property
    def last_words(self) -> str:
        """Of processes that have ended themselves: why."""
        lines = [
            f"{log.name}: {line}"
            for log in sorted((self.stack.data / "logs").glob("*.log"))
            for line in log.read_text("utf-8", errors="replace").splitlines()
            if '"critical"' in line
        ]
        return "\n".join(lines)

    def of(self, name: str) -> list[Service]:
        """The replicas of one service, that of the stack left out."""
        return [replica for replica in self.replicas if replica.name == name]

    async def scale(self, wanted: Mapping[str, int]) -> None:
        """So many of each service at least, the stack's own counted."""
        have = Counter([*SERVICES, *(replica.name for replica in self.replicas)])
        await self.add(*(name for name, count in wanted.items() for _ in range(count - have[name])))

    async def shrink(self) -> None:
        """One of each is left."""
        await asyncio.gather(*(self.remove(replica) for replica in list(self.replicas)))

    async def add(self, *names: str) -> None:
        """One more of each; all of them are ready."""
        added = [self._replica(name, port) for name, port in zip(names, ports.free(len(names)), strict=True)]
        self.replicas += added
        for replica in added:
            await replica.start()
        await asyncio.gather(*(replica.becomes_ready(READY_WITHIN) for replica in added))

    async def remove(self, replica: Service) -> None:
        """In order, and in time."""
        self.replicas.remove(replica)
        assert replica.child is not None
        code = await replica.child.stop(signal.SIGTERM, patience=30)
        assert code == 0, f"{replica.name} ended with {code}, see {replica.log}"

    def kill(self, replica: Service) -> None:
        """As a crash would end it."""
        self.replicas.remove(replica)
        assert replica.child is not None
        replica.child.kill()

    async def close(self) -> None:
        await asyncio.gather(*(replica.stop() for replica in self.replicas))

    async def rows(self, service: str, statement: str, **values: object) -> list[Row]:
        """What a service's own database says to a statement that gives rows."""
        engine = create_async_engine(self.stack.addresses.databases[service], poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                return [dict(row) for row in (await connection.execute(text(statement), values)).mappings()]
        finally:
            await engine.dispose()

    def _replica(self, name: str, port: int) -> Service:
        log: Path = self.stack.data / "logs" / f"{name}-{port}.log"
        return Service(name, f"http://127.0.0.1:{port}", lambda: self._told(name, port), log=log)

    def _told(self, name: str, port: int) -> dict[str, str]:
        """A second gateway works with the second of each service behind it: so all of them are asked."""
        told = environment.of_service(name, self.user, self.stack.addresses)
        told[variable(name, "port")] = str(port)
        if name == "gateway":
            behind = {each.name: each.url for each in self.replicas}
            told["DOCQA_AUTH_URL"] = behind.get("auth", told["DOCQA_AUTH_URL"])
            for other in ("ingest", "qa"):
                setting = variable(name, f"{other}_url")
                told[setting] = behind.get(other, told[setting])
        return told

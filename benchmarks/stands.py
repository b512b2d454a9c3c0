"""What the rows measure on: a docqa of their own with everything below it, and a stub as its provider."""

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from contracts.index import shard_of
from docqa.embedded.children import Child
from docqa.stack import Stack
from embedder.settings import EmbedderSettings

from benchmarks import documents, processes
from benchmarks.people import Person
from benchmarks.provider import Provider
from tests.engines.addresses import Addresses
from tests.engines.emptying import emptied
from tests.engines.native_kafka import NativeKafka

# The large rows take longer than a token lives, and nobody logs in again.
LASTING = {"DOCQA_AUTH_ACCESS_TOKEN_SECONDS": "86400"}


class Broker(StrEnum):
    """What carries the facts."""

    EMBEDDED = "embedded"
    KAFKA = "Apache Kafka"


@dataclass(eq=False)
class Stand:
    """A running docqa."""

    stack: Stack
    provider: Provider
    broker: Broker
    seed: int
    settings: Mapping[str, str]
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _inhabited: set[int] = field(default_factory=set)

    @asynccontextmanager
    async def person(self) -> AsyncIterator[Person]:
        """Somebody new, signed up."""
        async with Person(self.stack.url, documents.email(self.seed, next(self._numbers))) as person:
            await person.signs_up()
            self._inhabited.add(self._shard_of(person))
            yield person

    @asynccontextmanager
    async def loner(self) -> AsyncIterator[Person]:
        """Somebody new in a shard of their own: what was erased from a shard slows down whoever comes there later."""
        while True:
            before = self._inhabited.copy()
            async with self.person() as person:
                if self._shard_of(person) not in before or len(before) == self._shards:
                    yield person
                    return

    def fresh(self) -> int:
        """A seed for a document that nobody has seen yet."""
        return self.seed * 1_000_000 + next(self._numbers)

    def services(self) -> list[int]:
        """The processes of the five services, and the one that they are forked from."""
        return [*self.origin(), *self._families(*(service.child for service in self.stack.services.values()))]

    def origin(self) -> list[int]:
        """The process that the services are forked from: it itself."""
        preloaded = self.stack.preloaded
        return [preloaded.pid] if preloaded is not None and preloaded.pid is not None else []

    def everything(self) -> list[int]:
        """All processes of the stack; not an Apache Kafka."""
        engines = (self.stack.postgres, self.stack.chroma, self.stack.broker)
        return [*self.services(), *self._families(*(engine.child for engine in engines if engine is not None))]

    def service(self, name: str) -> list[int]:
        return self._families(self.stack.services[name].child)

    def engine(self, name: str) -> list[int]:
        """The processes of `postgres`, `chroma` or `broker`, if they are the stack's own."""
        engine = {"postgres": self.stack.postgres, "chroma": self.stack.chroma, "broker": self.stack.broker}[name]
        return self._families(engine.child) if engine is not None else []

    @property
    def _shards(self) -> int:
        return int(self.settings.get("DOCQA_EMBEDDER_SHARDS", EmbedderSettings.model_fields["shards"].default))

    def _shard_of(self, person: Person) -> int:
        assert person.user_id is not None, "has signed up"
        return shard_of(person.user_id, self._shards)

    @staticmethod
    def _families(*children: Child | None) -> list[int]:
        return [pid for child in children if child is not None for pid in processes.family(child.pid)]


class Stands:
    """One at a time: a second one's idling would be in the figures of the first."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._key: tuple[Broker, frozenset[tuple[str, str]]] | None = None
        self._stand: Stand | None = None
        self._open = AsyncExitStack()

    async def get(self, broker: Broker = Broker.EMBEDDED, settings: Mapping[str, str] | None = None) -> Stand:
        """The one that runs, if it is such a one; with a provider that answers at once."""
        key = (broker, frozenset((settings or {}).items()))
        if self._stand is None or self._key != key:
            await self.close()
            self._stand = await self._open.enter_async_context(_stand(broker, dict(settings or {}), self._seed))
            self._key = key
            self._seed += 1
        await self._stand.provider.behave()
        await self._stand.provider.reset()
        return self._stand

    async def close(self) -> None:
        """None is left."""
        self._stand = None
        await self._open.aclose()


@asynccontextmanager
async def kafka(folder: Path) -> AsyncIterator[str]:
    """The addresses of an Apache Kafka without records: the one that is given, or one of our own.

    Raises `EngineMissing` where there is no Java.
    """
    if given := Addresses.of(os.environ).kafka:
        await emptied(given)
        yield given
        return
    broker = NativeKafka(folder / "kafka")
    try:
        await broker.start()
        yield broker.bootstrap_servers
    finally:
        await broker.remove()


@asynccontextmanager
async def scratch() -> AsyncIterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="docqa-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _stand(broker: Broker, settings: Mapping[str, str], seed: int) -> AsyncIterator[Stand]:
    async with AsyncExitStack() as opened:
        folder = await opened.enter_async_context(scratch())
        provider = await opened.enter_async_context(Provider())
        user = {"PATH": os.environ.get("PATH", os.defpath), **provider.settings, **LASTING, **settings}
        if broker is Broker.KAFKA:
            user["DOCQA_KAFKA"] = await opened.enter_async_context(kafka(folder))
        stack = await opened.enter_async_context(Stack(folder / "data", user=user))
        yield Stand(stack, provider, broker, seed, user)

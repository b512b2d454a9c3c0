"""Which engines a run gets: those whose addresses are given, else containers, else native ones; or none, and why."""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.engines.addresses import Addresses
from tests.engines.containers import ContainerChroma, ContainerKafka, ContainerMinio, ContainerPostgres
from tests.engines.missing import EngineMissing
from tests.engines.native import NativeChroma, NativePostgres
from tests.engines.native_kafka import NativeKafka
from tests.engines.native_minio import NativeMinio

KINDS = ("docker", "native")
WISH = "DOCQA_TEST_ENGINES"
"""One kind alone, for whoever does not want the other."""


class Engine(Protocol):
    """`start` makes it ready; `remove` leaves nothing of it."""

    how: str

    @property
    def addresses(self) -> Addresses: ...

    async def start(self) -> None: ...

    async def remove(self) -> None: ...


class Broker(Engine, Protocol):
    """A Kafka that may come to harm: the same address answers again afterwards."""

    @property
    def bootstrap_servers(self) -> str: ...

    async def stop(self) -> None:
        """In order, as SIGTERM asks for."""

    async def kill(self) -> None:
        """Without a word."""

    async def pause(self) -> None:
        """It hears nothing and says nothing until `resume`."""

    async def resume(self) -> None: ...

    async def wipe(self) -> None:
        """Kill it, lose its disk, start it empty."""


MAKERS: Mapping[str, Mapping[str, Callable[[Path], Engine]]] = {
    "Kafka": {"docker": ContainerKafka, "native": NativeKafka},
    "PostgreSQL": {"docker": ContainerPostgres, "native": NativePostgres},
    "MinIO": {"docker": ContainerMinio, "native": NativeMinio},
    "Chroma": {"docker": ContainerChroma, "native": NativeChroma},
}


@dataclass
class Chosen:
    """Where the engines are, how each is run, and why one could not be had."""

    addresses: Addresses = field(default_factory=Addresses)
    running: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def kinds() -> Sequence[str]:
    """The kinds of engines that may be started, the preferred one first."""
    wish = os.environ.get(WISH)
    if wish and wish not in KINDS:
        raise SystemExit(f"{WISH} is {' or '.join(KINDS)}, not {wish}")
    return (wish,) if wish else KINDS


@asynccontextmanager
async def engines(folder: Path) -> AsyncIterator[Chosen]:
    """The four engines, as far as they can be had; of those that were started nothing is left afterwards."""
    given = Addresses.of(os.environ)
    chosen = Chosen(given)
    async with AsyncExitStack() as started:
        for name in MAKERS:
            if given.names(name):
                chosen.running[name] = "given by its address"
                continue
            try:
                engine = await _started(name, folder, kinds=kinds())
            except EngineMissing as missing:
                chosen.missing[name] = missing.reason
                continue
            started.push_async_callback(engine.remove)
            chosen.running[name] = engine.how
            chosen.addresses = chosen.addresses.joined(engine.addresses)
        yield chosen


@asynccontextmanager
async def own_broker(folder: Path) -> AsyncIterator[Broker]:
    """A broker that nobody else uses; rather a process of ours than a container. Raises `EngineMissing`."""
    broker = await _started("Kafka", folder, kinds=("native", "docker"))
    assert isinstance(broker, ContainerKafka | NativeKafka)
    try:
        yield broker
    finally:
        await broker.remove()


async def _started(name: str, folder: Path, *, kinds: Sequence[str]) -> Engine:
    reasons = []
    for kind in kinds:
        try:
            engine = MAKERS[name][kind](folder / name.lower())
            try:
                await engine.start()
            except BaseException:
                await engine.remove()
                raise
        except EngineMissing as missing:
            reasons.append(missing.reason)
        else:
            return engine
    raise EngineMissing(name, "; ".join(reasons))

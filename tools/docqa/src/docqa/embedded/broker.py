"""A Kafka in memory: librdkafka's own mock cluster, out of confluent-kafka's wheel, called by ctypes.

It speaks the real wire protocol (groups, offsets, rebalances) and forgets everything when it ends. It holds at most
5 MiB or 100,000 records a partition.
"""

import asyncio
import ctypes
import importlib.util
import os
import signal
import sys
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_int32, c_size_t, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Self

from docqa.embedded import children
from docqa.embedded.failures import BrokerUnavailable

PRODUCER = 0
ERROR_TEXT = 512
# Two members that join within this time are assigned together; the mock gives one of them an error without it.
REBALANCE_DELAY_MS = 100


def library_path() -> Path:
    """Where confluent-kafka's wheel keeps librdkafka, found without importing the package."""
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise BrokerUnavailable("the package confluent-kafka is not installed")
    package = Path(spec.origin).parent
    for folder, pattern in (
        (package.parent / "confluent_kafka.libs", "librdkafka-*.so*"),
        (package / ".dylibs", "librdkafka*.dylib"),
    ):
        for found in sorted(folder.glob(pattern)):
            return found
    raise BrokerUnavailable("the installed confluent-kafka carries no librdkafka of its own (not a wheel?)")


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()))
    signatures: tuple[tuple[str, type | None, list[type]], ...] = (
        ("rd_kafka_conf_new", c_void_p, []),
        ("rd_kafka_conf_set", c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
        ("rd_kafka_new", c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
        ("rd_kafka_destroy", None, [c_void_p]),
        ("rd_kafka_mock_cluster_new", c_void_p, [c_void_p, c_int]),
        ("rd_kafka_mock_cluster_destroy", None, [c_void_p]),
        ("rd_kafka_mock_cluster_bootstraps", c_char_p, [c_void_p]),
        ("rd_kafka_mock_topic_create", c_int, [c_void_p, c_char_p, c_int, c_int]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [c_void_p, c_int32]),
    )
    for name, result, arguments in signatures:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class EmbeddedKafka:
    """The mock cluster inside this process: up in a millisecond, with exactly the topics it was given."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        """`topics`: number of partitions by name."""
        self._topics = dict(topics)
        self._library = _library()
        self._client: int | None = None
        self._cluster: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        address: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return address.decode()

    def start(self) -> None:
        text = ctypes.create_string_buffer(ERROR_TEXT)
        settings = self._library.rd_kafka_conf_new()
        # Its warning that no broker is configured is true and of no interest: the client only carries the cluster.
        self._library.rd_kafka_conf_set(settings, b"log_level", b"3", text, ERROR_TEXT)
        self._client = self._library.rd_kafka_new(PRODUCER, settings, text, ERROR_TEXT)
        if not self._client:
            raise BrokerUnavailable(text.value.decode(errors="replace"))
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            raise BrokerUnavailable("no free port on the loopback interface")
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, REBALANCE_DELAY_MS)
        for name, partitions in self._topics.items():
            if self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1):
                raise BrokerUnavailable(f"topic {name} with {partitions} partitions was refused")

    def stop(self) -> None:
        """Forgets everything. Harmless when it is not running."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
        if self._client:
            self._library.rd_kafka_destroy(self._client)
            self._client = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class BrokerProcess:
    """The same in a process of its own, so that a supervisor can lose it and start it again."""

    READY_WITHIN = 10.0

    name = "broker"

    def __init__(self, topics: Mapping[str, int], *, log: Path) -> None:
        self._topics = topics
        self._log = log
        self.child: children.Child | None = None
        self.bootstrap_servers = ""

    async def start(self) -> None:
        topics = [f"{name}:{partitions}" for name, partitions in self._topics.items()]
        self.child = children.start(
            self.name,
            [sys.executable, "-P", "-m", "docqa.embedded.broker", *topics],
            environment=os.environ,
            folder=self._log.parent,
            log=self._log,
            piped=True,
        )
        self.bootstrap_servers = await self._announced(self.child)

    async def _announced(self, child: children.Spawned) -> str:
        os.set_blocking(child.stdout, False)
        heard = b""
        try:
            async with asyncio.timeout(self.READY_WITHIN):
                while not heard.endswith(b"\n"):
                    try:
                        part = os.read(child.stdout, 4096)
                    except BlockingIOError:
                        await asyncio.sleep(children.POLL)
                        continue
                    if not part:
                        raise BrokerUnavailable("its process ended at once", log=self._log)
                    heard += part
        except TimeoutError:
            child.kill()
            raise BrokerUnavailable(f"no address within {self.READY_WITHIN:.0f} s", log=self._log) from None
        return heard.decode().strip()

    async def stop(self) -> None:
        if self.child is not None:
            await self.child.stop(patience=3)


def main() -> None:
    """Runs the broker until SIGTERM; says its address on the first line of its output."""
    topics = {name: int(partitions) for name, partitions in (word.split(":") for word in sys.argv[1:])}
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before librdkafka's threads inherit the mask
    with EmbeddedKafka(topics) as broker:
        sys.stdout.write(broker.bootstrap_servers + "\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()

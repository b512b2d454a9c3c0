"""Apache Kafka in a process of its own: one node in KRaft mode, kept in a folder."""

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path

from docqa import ports
from docqa.embedded import children

from tests.engines import publications
from tests.engines.addresses import Addresses
from tests.engines.emptying import broker_answers
from tests.engines.missing import EngineMissing

READY_WITHIN = 90.0
FORMATTED_WITHIN = 60.0
STOPPED_WITHIN = 30.0

# The second and third line of the JVM's options are for a machine that runs much else.
JVM = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# Records of megabytes are taken, so that tests can put some there that nobody expects; and members that are given up
# after a second, so that tests need not wait for six.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes=10485760
"""


class NativeKafka:
    """`start` makes it ready; whatever ends it, the same address answers again after the next `start`."""

    name = "Kafka"
    how = f"Apache Kafka {publications.KAFKA} from its jars"

    def __init__(self, folder: Path) -> None:
        """Raises `EngineMissing`."""
        self._java = publications.java()
        self._jars: Path | None = None
        self._folder = folder
        self._port, self._controller = ports.free(2)
        self.child: children.Child | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def addresses(self) -> Addresses:
        return Addresses(kafka=self.bootstrap_servers)

    async def start(self) -> None:
        """Raises `EngineMissing`, perhaps after a while: the first time the jars are fetched."""
        self._jars = await publications.kafka_jars()
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            await self._format()
        self.child = self._spawn("kafka.Kafka", str(self._properties))
        await self._answers(self.child)

    async def stop(self) -> None:
        """In order, as SIGTERM asks for."""
        if self.child is not None:
            await self.child.stop(patience=STOPPED_WITHIN)

    async def remove(self) -> None:
        await self.stop()

    async def kill(self) -> None:
        """Without a word."""
        if self.child is not None:
            self.child.kill()

    async def pause(self) -> None:
        """It hears nothing and says nothing until `resume`."""
        assert self.child is not None
        self.child.send(signal.SIGSTOP)

    async def resume(self) -> None:
        assert self.child is not None
        self.child.send(signal.SIGCONT)

    async def wipe(self) -> None:
        """Kill it, lose its disk, start it empty."""
        await self.kill()
        shutil.rmtree(self._data)
        await self.start()

    def _words(self) -> str:
        """Its properties, as they stand in the file."""
        return PROPERTIES.format(port=self._port, controller=self._controller, data=self._data)

    def _told_at_format(self) -> list[str]:
        return []

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    @property
    def _log(self) -> Path:
        return self._folder / "kafka.log"

    async def _format(self) -> None:
        self._properties.write_text(self._words(), "utf-8")
        cluster = os.urandom(12).hex()[:22]
        format_ = ["format", "-t", cluster, "-c", str(self._properties), *self._told_at_format()]
        child = self._spawn("kafka.tools.StorageTool", *format_)
        if await child.ended(FORMATTED_WITHIN) != 0:
            raise EngineMissing(self.name, f"its storage could not be formatted (see {self._log})")

    def _spawn(self, *words: str) -> children.Child:
        return children.start(
            "kafka",
            [self._java, *JVM, "-cp", f"{self._jars}/*", *words],
            environment={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            folder=self._folder,
            log=self._log,
        )

    async def _answers(self, child: children.Child) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not child.running:
                raise EngineMissing(self.name, f"it ended with exit code {child.exit_code} (see {self._log})")
            if await broker_answers(self.bootstrap_servers):
                return
            await asyncio.sleep(0.1)
        child.kill()
        raise EngineMissing(self.name, f"it did not answer within {READY_WITHIN:.0f} s (see {self._log})")

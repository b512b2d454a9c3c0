"""The whole of docqa on one machine: embedded stores and broker, and the five services as five processes.

async with Stack(folder) as stack:
    ...  # stack.url answers, everything is ready
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chassis.side_by_side import side_by_side
from contracts.topics import TOPICS

from docqa import environment, ports
from docqa.data_folder import DataFolder, RunningStack
from docqa.embedded.broker import BrokerProcess
from docqa.embedded.chroma import EmbeddedChroma
from docqa.embedded.modules import Preloaded, run_alone
from docqa.embedded.postgres import EmbeddedPostgres
from docqa.failing import DataFolderUnusable, NotRunning, PortInUse
from docqa.migrated import Migrated
from docqa.progress import Progress, Silent
from docqa.service import LOOK_EVERY, READY_WITHIN, Service
from docqa.supervisor import Part, Supervisor

BEHIND = tuple(name for name in environment.SERVICES if name != "gateway")


class Stack:
    """`start` returns when the public address answers; `stop` leaves no process behind, and the data on disk.

    `port=0` takes a free one. `user` is the environment that the user has set, by default this process's.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        user: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        ready_within: float = READY_WITHIN,
    ) -> None:
        self.data = data
        self._port = port
        self._user = dict(os.environ) if user is None else dict(user)
        self._progress = progress or Silent()
        self._ready_within = ready_within
        self._supervisor = Supervisor(self._progress.notice)
        self._folder: DataFolder | None = None
        self._addresses: environment.Addresses | None = None
        self.postgres: EmbeddedPostgres | None = None
        self.broker: BrokerProcess | None = None
        self.chroma: EmbeddedChroma | None = None
        self.preloaded: Preloaded | None = None
        self.services: dict[str, Service] = {}

    @property
    def url(self) -> str:
        """The public address."""
        host = environment.public_host(self._user)
        return self.addresses.url("gateway", "127.0.0.1" if host in ("0.0.0.0", "::") else host)  # noqa: S104

    @property
    def addresses(self) -> environment.Addresses:
        assert self._addresses is not None, "the stack was not started"
        return self._addresses

    async def start(self) -> None:
        """Raises `PlainError`, and then nothing is left running."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """First what is public, then what works behind it, then what they work on. Harmless when nothing runs."""
        try:
            await self._supervisor.release()
            await _each(service.stop() for name, service in self.services.items() if name == "gateway")
            await _each(service.stop() for name, service in self.services.items() if name != "gateway")
            stores = (self.preloaded, self.broker, self.chroma, self.postgres)
            await _each(part.stop() for part in stores if part is not None)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends at once whatever still runs."""
        for part in (*self.services.values(), self.broker, self.chroma, self.postgres):
            if part is not None and part.child is not None:
                part.child.kill()
        if self.preloaded is not None:
            self.preloaded.kill()
        if self._folder is not None:
            self._folder.close()

    async def becomes_ready(self, name: str) -> None:
        """Waits until a service, perhaps one that is just started again, is ready."""
        async with asyncio.timeout(self._ready_within):
            while True:
                if await self.services[name].missing() is None:
                    return
                await asyncio.sleep(LOOK_EVERY)

    def kill_service(self, name: str) -> None:
        """Ends a service without a word, as a crash would; it is started again."""
        child = self.services[name].child
        assert child is not None
        child.send(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self) -> None:
        host = environment.public_host(self._user)
        chosen = ports.free(len(environment.SERVICES), but=self._port)
        port = self._port or chosen.pop()
        self._check(host, port)
        self._folder = folder = DataFolder.open(self.data)
        self._addresses = environment.Addresses(
            ports={**dict(zip(BEHIND, chosen, strict=False)), "gateway": port},
            object_store=folder.objects.as_uri(),
            operator_token=self._user.get("DOCQA_OPERATOR_TOKEN") or secrets.token_hex(32),
        )
        if sys.platform == "linux":  # elsewhere not every library outlives a fork
            self.preloaded = Preloaded(environment.of_all(self._user), log=folder.log("preloaded"))
        self.services = {name: self._service(name, folder) for name in environment.SERVICES}
        await side_by_side(
            [self._start_postgres(folder), self._start_broker(folder), self._start_chroma(folder), self._preload()]
        )
        await side_by_side(self._start_service(self.services[name]) for name in BEHIND)
        ports.check_public(host, port)
        await self._start_service(self.services["gateway"])
        self._keep_all()
        self._publish()

    def _check(self, host: str, port: int) -> None:
        """Raises `PortInUse`, or `DataFolderUnusable` if it is docqa on the same data that listens there."""
        try:
            ports.check_public(host, port)
        except PortInUse:
            with suppress(NotRunning):
                raise DataFolderUnusable(self.data, f"docqa runs on it at {RunningStack.find(self.data).url}") from None
            raise

    def _publish(self) -> None:
        """Tell others on this machine where everything is."""
        assert self._folder is not None
        self._folder.publish(
            RunningStack(
                pid=os.getpid(),
                url=self.url,
                services={name: service.url for name, service in self.services.items()},
                databases=self.addresses.databases,
                kafka=self.addresses.kafka,
                operator_token=self.addresses.operator_token,
            )
        )

    def _service(self, name: str, folder: DataFolder) -> Service:
        return Service(
            name,
            self.addresses.url(name),
            lambda: environment.of_service(name, self._user, self.addresses),
            log=folder.log(name),
            run=run_alone if self.preloaded is None else self.preloaded.run,
        )

    async def _preload(self) -> None:
        if self.preloaded is not None:
            await self.preloaded.start()

    async def _start_postgres(self, folder: DataFolder) -> None:
        given = {name: environment.given_database(name, self._user) for name in environment.SERVICES}
        self.addresses.databases.update({name: url for name, url in given.items() if url})
        ours = [name for name, url in given.items() if not url]
        if not ours:
            return
        with self._progress.step("PostgreSQL"):
            self.postgres = server = EmbeddedPostgres(folder.postgres, log=folder.log("postgres"))
            await server.start()
            for name in ours:
                await server.create_role(name)
                await server.create_database(name, owner=name)
                self.addresses.databases[name] = server.url(name, name)

    async def _start_broker(self, folder: DataFolder) -> None:
        if given := self._user.get("DOCQA_KAFKA"):
            self.addresses.kafka = given
            return
        with self._progress.step("broker"):
            topics = {topic.name: topic.partitions for topic in TOPICS}
            self.broker = BrokerProcess(topics, log=folder.log("broker"))
            await self.broker.start()
            self.addresses.kafka = self.broker.bootstrap_servers

    async def _start_chroma(self, folder: DataFolder) -> None:
        if given := self._user.get("DOCQA_CHROMA_URL"):
            self.addresses.chroma_url = given
            return
        with self._progress.step("Chroma"):
            port = ports.free(1)[0]  # the same after a restart, for the services that know it
            self.chroma = EmbeddedChroma(folder.chroma, port, log=folder.log("chroma"))
            await self.chroma.start()
            self.addresses.chroma_url = self.chroma.url

    async def _start_service(self, service: Service) -> None:
        with self._progress.step(service.name):
            await self._migrate(service)
            await service.start()
            await service.becomes_ready(self._ready_within)

    async def _migrate(self, service: Service) -> None:
        ours = environment.given_database(service.name, self._user) is None
        if ours and self._migrated.is_current(service.name):
            return
        await service.migrate()
        if ours:
            self._migrated.note(service.name)

    @property
    def _migrated(self) -> Migrated:
        assert self._folder is not None
        return Migrated(self._folder.postgres / "data" / "docqa-migrated.json")

    def _keep_all(self) -> None:
        stores: list[Part] = [part for part in (self.postgres, self.chroma) if part is not None]
        for part in [*stores, *self.services.values()]:
            self._supervisor.keep(part)
        if self.broker is not None:
            self._supervisor.keep(self.broker, then=self._follow_broker)

    async def _follow_broker(self) -> None:
        """It listens elsewhere after each start: the services are restarted to hear of it, the public one last."""
        assert self.broker is not None
        self.addresses.kafka = self.broker.bootstrap_servers
        self._publish()
        await side_by_side(self._restart(self.services[name]) for name in BEHIND)
        await self._restart(self.services["gateway"])
        self._progress.notice("everything is ready again")

    async def _restart(self, service: Service) -> None:
        await self._supervisor.restart(service)
        await service.becomes_ready(self._ready_within)


async def _each(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """At the same time, and all to their end, whatever becomes of one; the first error is raised then."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result

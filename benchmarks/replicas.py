"""More of one service beside a stand, and fewer again."""

from contextlib import AsyncExitStack

from docqa import environment, ports
from docqa.environment import variable
from docqa.service import READY_WITHIN, Service

from benchmarks.stands import Stand


class Replicas:
    """Of one service; the stand's own counts as the first. `close` leaves that one alone."""

    def __init__(self, stand: Stand, name: str) -> None:
        self._stand = stand
        self._name = name
        self._running = AsyncExitStack()
        self._count = 1

    async def become(self, count: int) -> None:
        """So many, all of them ready."""
        if count < self._count:
            await self.close()
        for port in ports.free(count - self._count):
            replica = self._replica(port)
            await replica.start()
            self._running.push_async_callback(replica.stop)
            await replica.becomes_ready(READY_WITHIN)
        self._count = count

    async def close(self) -> None:
        await self._running.aclose()
        self._count = 1

    def _replica(self, port: int) -> Service:
        addresses = self._stand.stack.addresses
        told = environment.of_service(self._name, self._stand.settings, addresses)
        told[variable(self._name, "port")] = str(port)
        log = self._stand.stack.data / "logs" / f"{self._name}-{port}.log"
        return Service(self._name, f"http://127.0.0.1:{port}", lambda: told, log=log)

"""PostgreSQL and Chroma as the embedded stack has them: from their wheels, and the real thing all the same."""

from pathlib import Path

from docqa.embedded.chroma import EmbeddedChroma
from docqa.embedded.failures import EmbeddedUnavailable
from docqa.embedded.postgres import EmbeddedPostgres

from tests.engines.addresses import Addresses
from tests.engines.missing import EngineMissing


class NativePostgres:
    how = "PostgreSQL 18 from its wheel"

    def __init__(self, folder: Path) -> None:
        """Raises `EngineMissing`."""
        try:
            self._server = EmbeddedPostgres(folder, fast=True)
        except EmbeddedUnavailable as error:
            raise EngineMissing("PostgreSQL", error.reason) from None

    @property
    def addresses(self) -> Addresses:
        return Addresses(postgres_url=self._server.url("postgres"))

    async def start(self) -> None:
        try:
            await self._server.start()
        except EmbeddedUnavailable as error:
            raise EngineMissing("PostgreSQL", error.reason) from None

    async def remove(self) -> None:
        await self._server.stop()


class NativeChroma:
    how = "Chroma from its wheel"

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedChroma(folder)

    @property
    def addresses(self) -> Addresses:
        return Addresses(chroma_url=self._server.url)

    async def start(self) -> None:
        try:
            await self._server.start()
        except EmbeddedUnavailable as error:
            raise EngineMissing("Chroma", error.reason) from None

    async def remove(self) -> None:
        await self._server.stop()

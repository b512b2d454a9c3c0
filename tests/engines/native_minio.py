"""MinIO in a process of its own, kept in a folder."""

import asyncio
import os
import time
from pathlib import Path

from docqa import ports, probing
from docqa.embedded import children

from tests.engines import publications
from tests.engines.addresses import Addresses
from tests.engines.missing import EngineMissing

READY_WITHIN = 60.0
USER = "docqa"
PASSWORD = "docqa-secret"


class NativeMinio:
    name = "MinIO"
    how = f"MinIO {publications.MINIO} built from its module"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (port,) = ports.free(1)
        self._endpoint = f"127.0.0.1:{port}"
        self.child: children.Child | None = None

    @property
    def addresses(self) -> Addresses:
        return Addresses(s3_endpoint=self._endpoint, s3_access_key=USER, s3_secret_key=PASSWORD)

    async def start(self) -> None:
        """Raises `EngineMissing`, perhaps after minutes: the first time it is built."""
        program = await publications.minio_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        self.child = children.start(
            "minio",
            [program, "server", self._folder / "data", *self._arguments()],
            environment={
                "PATH": os.defpath,
                "HOME": str(self._folder),
                "MINIO_ROOT_USER": USER,
                "MINIO_ROOT_PASSWORD": PASSWORD,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
            folder=self._folder,
            log=self._log,
        )
        await self._answers(self.child)

    async def remove(self) -> None:
        if self.child is not None:
            await self.child.stop()

    @property
    def _log(self) -> Path:
        return self._folder / "minio.log"

    def _arguments(self) -> list[str]:
        return ["--address", self._endpoint, "--certs-dir", str(self._folder / "certs"), "--quiet"]

    async def _answers(self, child: children.Child) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not child.running:
                raise EngineMissing(self.name, f"it ended with exit code {child.exit_code} (see {self._log})")
            if await probing.is_well(f"http://{self._endpoint}/minio/health/ready"):
                return
            await asyncio.sleep(0.1)
        child.kill()
        raise EngineMissing(self.name, f"it was not ready within {READY_WITHIN:.0f} s (see {self._log})")

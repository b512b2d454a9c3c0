"""Engines in containers, where a Docker engine answers that has their images: nothing is pulled unasked."""

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docqa import ports

from tests.engines.addresses import Addresses
from tests.engines.emptying import broker_answers
from tests.engines.missing import EngineMissing

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

KAFKA = "apache/kafka:4.3.0"
POSTGRES = "postgres:18"
MINIO = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
CHROMA = "chromadb/chroma:1.5.9"

READY_WITHIN = 120.0
ANSWERS_WITHIN = 5  # seconds
STOPPED_WITHIN = 30


def check(engine: str, image: str) -> None:
    """Raises `EngineMissing` unless a Docker engine answers and has the image."""
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException, ImageNotFound  # type: ignore[import-untyped]

    # The container that clears up after testcontainers needs an image of its own; ours are stopped by us.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    try:
        docker.from_env(timeout=ANSWERS_WITHIN).images.get(image)
    except ImageNotFound:
        raise EngineMissing(engine, f"the Docker engine has no image {image} (docker pull {image})") from None
    except DockerException:
        raise EngineMissing(engine, "no Docker engine answers") from None


class ContainerKafka:
    """As `NativeKafka`, in a container. `wipe` makes a new one at the same address."""

    name = "Kafka"
    how = f"container {KAFKA}"

    def __init__(self, folder: Path) -> None:
        """Raises `EngineMissing`. It keeps nothing in a folder."""
        del folder
        check(self.name, KAFKA)
        (self._port,) = ports.free(1)
        self._container: DockerContainer | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def addresses(self) -> Addresses:
        return Addresses(kafka=self.bootstrap_servers)

    async def start(self) -> None:
        if self._container is None:
            self._container = _kafka(self._port)
            await asyncio.to_thread(self._container.start)
        else:
            await self._do("start")
        await self._answers()

    async def stop(self) -> None:
        await self._do("stop", timeout=STOPPED_WITHIN)

    async def kill(self) -> None:
        await self._do("kill")

    async def pause(self) -> None:
        await self._do("pause")

    async def resume(self) -> None:
        await self._do("unpause")

    async def wipe(self) -> None:
        await self.remove()
        await self.start()

    async def remove(self) -> None:
        """Nothing of it is left. Harmless twice."""
        container, self._container = self._container, None
        if container is not None:
            await asyncio.to_thread(container.stop)

    async def _do(self, action: str, **options: Any) -> None:
        if self._container is not None:
            await asyncio.to_thread(getattr(self._container.get_wrapped_container(), action), **options)

    async def _answers(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not await broker_answers(self.bootstrap_servers):
            if time.monotonic() > deadline:
                raise EngineMissing(self.name, f"its container did not answer within {READY_WITHIN:.0f} s")
            await asyncio.sleep(0.1)


def _kafka(port: int) -> "DockerContainer":
    """Clients are told where to go by the broker itself: its port has to be known before it starts."""
    from testcontainers.core.container import DockerContainer

    return (
        DockerContainer(KAFKA)
        .with_bind_ports(port, port)
        .with_envs(
            KAFKA_NODE_ID="1",
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_LISTENERS=f"PLAINTEXT://:{port},CONTROLLER://:9093",
            KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://127.0.0.1:{port}",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR="1",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
            KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS="1000",
            KAFKA_MESSAGE_MAX_BYTES="10485760",
        )
    )


class ContainerPostgres:
    name = "PostgreSQL"
    how = f"container {POSTGRES}"

    def __init__(self, folder: Path) -> None:
        """Raises `EngineMissing`. It keeps nothing in a folder."""
        del folder
        check(self.name, POSTGRES)
        from testcontainers.community.postgres import PostgresContainer

        self._container = PostgresContainer(POSTGRES, username="postgres", password="postgres", dbname="postgres")
        self._container.with_command("postgres -c max_connections=500 -c fsync=off -c full_page_writes=off")

    @property
    def addresses(self) -> Addresses:
        return Addresses(postgres_url=self._container.get_connection_url(host="127.0.0.1", driver="asyncpg"))

    async def start(self) -> None:
        await asyncio.to_thread(self._container.start)

    async def remove(self) -> None:
        await asyncio.to_thread(self._container.stop)


class ContainerMinio:
    name = "MinIO"
    how = f"container {MINIO}"
    user = "docqa"
    password = "docqa-secret"

    def __init__(self, folder: Path) -> None:
        """Raises `EngineMissing`. It keeps nothing in a folder."""
        del folder
        check(self.name, MINIO)
        from testcontainers.community.minio import MinioContainer

        self._container = MinioContainer(MINIO, access_key=self.user, secret_key=self.password)
        self._container.with_envs(MINIO_ROOT_USER=self.user, MINIO_ROOT_PASSWORD=self.password)

    @property
    def addresses(self) -> Addresses:
        endpoint = f"127.0.0.1:{self._container.get_exposed_port(9000)}"
        return Addresses(s3_endpoint=endpoint, s3_access_key=self.user, s3_secret_key=self.password)

    async def start(self) -> None:
        await asyncio.to_thread(self._container.start)

    async def remove(self) -> None:
        await asyncio.to_thread(self._container.stop)


class ContainerChroma:
    name = "Chroma"
    how = f"container {CHROMA}"

    def __init__(self, folder: Path) -> None:
        """Raises `EngineMissing`. It keeps nothing in a folder."""
        del folder
        check(self.name, CHROMA)
        from testcontainers.community.chroma import ChromaContainer

        self._container = ChromaContainer(CHROMA)

    @property
    def addresses(self) -> Addresses:
        return Addresses(chroma_url=f"http://127.0.0.1:{self._container.get_exposed_port(8000)}")

    async def start(self) -> None:
        await asyncio.to_thread(self._container.start)

    async def remove(self) -> None:
        await asyncio.to_thread(self._container.stop)

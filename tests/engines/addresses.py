"""Where engines are, as the environment tells it: to tests, and to a stack of services."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self
from uuid import uuid4

from docqa.embedded.postgres import RunningPostgres
from docqa.environment import SERVICES, variable


@dataclass(frozen=True)
class Addresses:
    """None where an engine is not given. The PostgreSQL is its superuser's URL, for SQLAlchemy."""

    kafka: str | None = None
    postgres_url: str | None = None
    chroma_url: str | None = None
    s3_endpoint: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        return cls(**{field.name: environment.get(_variable(field.name)) or None for field in fields(cls)})

    def environment(self) -> dict[str, str]:
        """What `of` reads."""
        told = {_variable(field.name): getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in told.items() if value is not None}

    def names(self, engine: str) -> bool:
        """Whether it tells where this one is."""
        told = {
            "Kafka": self.kafka,
            "PostgreSQL": self.postgres_url,
            "MinIO": self.s3_endpoint,
            "Chroma": self.chroma_url,
        }
        return told[engine] is not None

    def joined(self, other: "Addresses") -> "Addresses":
        """These, and those that only `other` knows."""
        return Addresses.of({**other.environment(), **self.environment()})

    async def for_a_stack(self, name: str | None = None) -> dict[str, str]:
        """The settings with which docqa's services work on these engines, and on databases and a bucket of their own.

        What is not given is left to the embedded stack.
        """
        name = name or f"docqa-{uuid4().hex[:8]}"
        told: dict[str, str] = {}
        if self.kafka:
            told["DOCQA_KAFKA"] = self.kafka
        if self.chroma_url:
            told["DOCQA_CHROMA_URL"] = self.chroma_url
        if self.s3_endpoint:
            told |= self._object_store(name)
        if self.postgres_url:
            told |= await _databases(RunningPostgres(self.postgres_url), name)
        return told

    def _object_store(self, bucket: str) -> dict[str, str]:
        return {
            "DOCQA_OBJECT_STORE": f"s3://{bucket}",
            "DOCQA_S3_ENDPOINT": self.s3_endpoint or "",
            "DOCQA_S3_ACCESS_KEY": self.s3_access_key or "",
            "DOCQA_S3_SECRET_KEY": self.s3_secret_key or "",
            "DOCQA_S3_SECURE": "false",
        }


async def _databases(server: RunningPostgres, name: str) -> dict[str, str]:
    urls = {}
    for service in SERVICES:
        database = f"{name}-{service}"
        await server.create_role(service)
        await server.create_database(database, owner=service)
        urls[variable(service, "database_url")] = server.url(database, service)
    return urls


def _variable(field: str) -> str:
    return f"DOCQA_TEST_{field.upper()}"

"""How a connection to the broker is opened: where it is, and what it wants to be shown."""

import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from chassis.settings import KafkaSecurity, SaslMechanism, ServiceSettings
from pydantic import SecretStr


@dataclass(frozen=True)
class BrokerAccess:
    """The same for consumers, producers and whoever makes topics. `servers` are separated by commas."""

    servers: str
    security: KafkaSecurity = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self:
        return cls(
            servers=settings.kafka,
            security=settings.kafka_security,
            sasl_mechanism=settings.kafka_sasl_mechanism,
            username=settings.kafka_username,
            password=settings.kafka_password,
            ca_file=settings.kafka_ca_file,
        )

    def options(self) -> dict[str, Any]:
        """Arguments of aiokafka's clients."""
        options: dict[str, Any] = {"bootstrap_servers": self.servers.split(","), "security_protocol": self.security}
        if self.security.endswith("SSL"):
            options["ssl_context"] = self._tls
        if self.security.startswith("SASL_"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password.get_secret_value() if self.password else None
        return options

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made once: reading the system's authorities takes tens of milliseconds, and connections are made often."""
        return ssl.create_default_context(cafile=self.ca_file)

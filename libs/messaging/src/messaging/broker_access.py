"""How a connection to the broker is opened: where it is, and what it wants to be shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from chassis.settings import KafkaSecurity, SaslMechanism, ServiceSettings
from pydantic import SecretStr

from messaging.client_log import Complaints

CONNECT_AGAIN_MS = 1000  # at most; the client's own ten seconds would be added to every outage of the broker


BEGIN_AGAIN_MS = 5000
"""After which a client that knows of no broker asks those it was told of. A broker that has stood still tells whoever
asks that there is none, itself included, and the client forgets it; by its own setting for five minutes."""

FORLORN_SECONDS = 20.0
"""After which a client that has had no answer, or no place in its group, is replaced: even so it may be one that never
looks for a broker again."""

ANSWER_MS = 10_000
"""In which a broker answers a request, but one to join a group; then that is sent again. A consumer that has lost its
partitions joins again only behind the commits that are on their way; by its own setting each of them waits a minute."""


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
        """Settings of librdkafka's clients. What they have to say of the broker goes to our log, once in a while."""
        options: dict[str, Any] = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.security.lower(),
            "reconnect.backoff.max.ms": CONNECT_AGAIN_MS,
            "metadata.recovery.rebootstrap.trigger.ms": BEGIN_AGAIN_MS,
            "socket.timeout.ms": ANSWER_MS,
            "log_level": 0,  # it would write to the standard error, past our log
            "error_cb": Complaints(),
        }
        if self.security.endswith("SSL"):
            # Without authorities of its own the wheel's OpenSSL has to look for the system's.
            options["ssl.ca.location"] = str(self.ca_file or "probe")
        if self.security.startswith("SASL_"):
            options["sasl.mechanism"] = self.sasl_mechanism
            options["sasl.username"] = self.username
            options["sasl.password"] = self.password.get_secret_value() if self.password else None
        return options

"""An Apache Kafka like a managed one: it wants a password, in the open or over TLS. Tests have their own way in."""

from pathlib import Path

from docqa import ports

from tests.engines.native_kafka import NativeKafka
from tests.stubs.authority import Authority

USER, PASSWORD = "docqa", "known to the broker"

LISTENERS = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},GUARDED://127.0.0.1:{guarded},SEALED://127.0.0.1:{sealed}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},GUARDED://127.0.0.1:{guarded},SEALED://127.0.0.1:{sealed}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT,SEALED:SASL_SSL
listener.name.guarded.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.guarded.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sealed.sasl.enabled.mechanisms=PLAIN
listener.name.sealed.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.sealed.ssl.keystore.type=PEM
listener.name.sealed.ssl.keystore.location={keystore}
"""


class GuardedKafka(NativeKafka):
    """`guarded` asks for SCRAM-SHA-256, `sealed` for PLAIN over TLS, with a certificate of `authority`."""

    def __init__(self, folder: Path) -> None:
        """Raises `EngineMissing`."""
        super().__init__(folder)
        self._guarded, self._sealed = ports.free(2)
        self._keystore = folder / "keystore.pem"
        self._authority = Authority()

    @property
    def guarded(self) -> str:
        return f"127.0.0.1:{self._guarded}"

    @property
    def sealed(self) -> str:
        return f"127.0.0.1:{self._sealed}"

    @property
    def authority(self) -> bytes:
        """Its certificate, PEM."""
        return self._authority.certificate

    def _words(self) -> str:
        self._keystore.write_bytes(self._authority.server())
        usual = [line for line in super()._words().splitlines(keepends=True) if "listeners=" not in line]
        return "".join(line for line in usual if not line.startswith("listener.security")) + LISTENERS.format(
            port=self._port,
            controller=self._controller,
            guarded=self._guarded,
            sealed=self._sealed,
            user=USER,
            password=PASSWORD,
            keystore=self._keystore,
        )

    def _told_at_format(self) -> list[str]:
        return ["--add-scram", f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]"]

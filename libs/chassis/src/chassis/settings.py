"""Settings: read once from the environment, frozen, and every mistake said in plain words before anything starts.

Three kinds of names:

- `DOCQA_<FIELD>` is shared: it says the same to every service that has the field;
- `DOCQA_<SERVICE>_<FIELD>` is a service's own, and for a shared field says otherwise for that service alone;
- a field's `validation_alias`, where the API promises a name.
"""

import difflib
import os
import re
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url

PREFIX = "DOCQA_"

SERVICES = ("gateway", "auth", "ingest", "embedder", "qa")

TOOL_NAMES = frozenset({"DOCQA_DATA", "DOCQA_PORT", "DOCQA_URL", "DOCQA_API_KEY"})
"""Read by the `docqa` command; services let them pass."""

TOOL_PREFIXES = ("DOCQA_TEST_", "DOCQA_BENCH_")
"""Read by tests and benchmarks only."""

SHARED_NAMES = frozenset(
    {
        "DOCQA_AUTH_URL",
        "DOCQA_CHAT_MODEL",
        "DOCQA_CHAT_TIME_LIMIT",
        "DOCQA_CHROMA_URL",
        "DOCQA_CORS_ORIGINS",
        "DOCQA_EMBEDDING_DIMENSION",
        "DOCQA_EMBEDDING_MODEL",
        "DOCQA_EMBEDDING_THREADS",
        "DOCQA_ENVIRONMENT",
        "DOCQA_EVIDENCE_FLOOR",
        "DOCQA_GOOGLE_API_KEY",
        "DOCQA_GOOGLE_BASE_URL",
        "DOCQA_HOST",
        "DOCQA_KAFKA",
        "DOCQA_KAFKA_CA_FILE",
        "DOCQA_KAFKA_FETCH_MAX_WAIT_MS",
        "DOCQA_KAFKA_PASSWORD",
        "DOCQA_KAFKA_SASL_MECHANISM",
        "DOCQA_KAFKA_SECURITY",
        "DOCQA_KAFKA_SESSION_TIMEOUT_MS",
        "DOCQA_KAFKA_USERNAME",
        "DOCQA_LOG_LEVEL",
        "DOCQA_OBJECT_STORE",
        "DOCQA_OPENAI_API_KEY",
        "DOCQA_OPENAI_BASE_URL",
        "DOCQA_OPERATOR_TOKEN",
        "DOCQA_OTLP_ENDPOINT",
        "DOCQA_PROVIDER_IN_FLIGHT",
        "DOCQA_PROVIDER_RETRIES",
        "DOCQA_PROVIDER_TEXTS_PER_CALL",
        "DOCQA_PROVIDER_TIMEOUT",
        "DOCQA_S3_ACCESS_KEY",
        "DOCQA_S3_ENDPOINT",
        "DOCQA_S3_REGION",
        "DOCQA_S3_SECRET_KEY",
        "DOCQA_S3_SECURE",
    }
)
"""Every shared name, whether a service has the field or not: one environment file serves all five."""


class PerService:
    """Marks a shared field of which each service needs its own value: only `DOCQA_<SERVICE>_<FIELD>` sets it."""


def split_commas(value: object) -> object:
    """`a, b` as a list; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_ORIGIN = re.compile(r"[a-z][a-z0-9+.\-]*://[a-z0-9._\-\[\]:]*[a-z0-9_\]]", re.ASCII)


def _strong(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if len(secret) < 32 or len(set(secret)) < 10:
        raise ValueError("is too weak: 32 characters or more, ten of them different (try: openssl rand -hex 32)")
    if not (secret.isascii() and secret.isprintable()):
        raise ValueError("has characters that cannot be sent in a header (try: openssl rand -hex 32)")
    return value


StrongSecret = Annotated[SecretStr, AfterValidator(_strong)]
"""A secret that nobody guesses, and that can be sent as a bearer token."""


SCHEME = "postgresql+asyncpg://"
"""Of every database's address."""

LAST_PORT = 65535

_HOST = re.compile(r"[\w.:%\-]*")  # none where a socket's folder is named
_BROKER = re.compile(r"([A-Z_]+://)?(\[[\da-fA-F:.%]+\]|[\w.\-]+):\d{1,5}")


def _asyncpg_url(value: str) -> str:
    if not value.startswith(SCHEME):
        raise ValueError(f"must begin with {SCHEME}")
    try:
        url = make_url(value)
    except ValueError:  # a port that is no number
        url = None
    if url is None or not _HOST.fullmatch(url.host or "") or not 0 < (url.port or 5432) <= LAST_PORT:
        raise ValueError(f"cannot be read as {SCHEME}role:password@host:port/database (a special character: %40)")
    return value


def _brokers(value: str) -> str:
    for broker in value.split(","):
        if not _BROKER.fullmatch(broker.strip()) or not 0 < int(broker.rpartition(":")[2]) <= LAST_PORT:
            raise ValueError("must be host:port, several of them separated by commas")
    return value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return value.rstrip("/")


def _origin(value: str) -> str:
    if value != "*" and not _ORIGIN.fullmatch(value):
        raise ValueError("each must be an origin as browsers send it, https://console.example or http://localhost:5173")
    return value


def _certificates(value: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError:  # which is what TLS's own errors are, too
        raise ValueError("is not a file with certificates (PEM) that can be read") from None
    return value


DatabaseUrl = Annotated[str, AfterValidator(_asyncpg_url)]
Brokers = Annotated[str, AfterValidator(_brokers)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(split_commas)]
CertificatesFile = Annotated[Path, AfterValidator(_certificates)]

KafkaSecurity = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
"""As Kafka's own `security.protocol`, which is what the console of a managed Kafka shows."""

SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class ServiceSettings(BaseSettings):
    """What every service is told. A service's class names it, and adds what is its own."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True
    )

    service: ClassVar[str]

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    port: Annotated[int, PerService()] = Field(ge=0, le=LAST_PORT, description="Port to listen on.")
    database_url: Annotated[DatabaseUrl, PerService()] = Field(
        repr=False, description="The service's own database: postgresql+asyncpg://role:password@host/database."
    )
    kafka: Brokers = Field(description="Kafka bootstrap servers, host:port, separated by commas.")
    kafka_security: KafkaSecurity = Field(
        default="PLAINTEXT",
        description="PLAINTEXT, SSL (which is TLS), SASL_PLAINTEXT or SASL_SSL: Kafka's security.protocol.",
    )
    kafka_sasl_mechanism: SaslMechanism | None = Field(
        default=None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, for SASL."
    )
    kafka_username: str | None = Field(default=None, description="User name at Kafka, for SASL.")
    kafka_password: SecretStr | None = Field(default=None, description="Password at Kafka, for SASL.")
    kafka_ca_file: CertificatesFile | None = Field(
        default=None,
        description="PEM file of the authorities that sign the brokers' certificates; without it the system's own.",
    )
    kafka_fetch_max_wait_ms: int = Field(
        default=500,
        ge=1,
        le=60_000,
        description="How long a broker may hold an empty fetch; 100 or less for one that answers none that waits: "
        "20 on the embedded one.",
    )
    kafka_session_timeout_ms: int = Field(
        default=6000,
        ge=1000,
        le=60_000,
        description="After how much silence a consumer's partitions go to another; brokers mostly want 6000 at least.",
    )
    auth_url: HttpUrl = Field(description="Where the auth service listens; its public keys are fetched from there.")
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."
    )
    otlp_endpoint: HttpUrl | None = Field(
        default=None, description="OpenTelemetry collector (OTLP over HTTP); without it nothing is traced."
    )
    environment: str = Field(default="development", description="Name of the installation, on every trace.")

    @model_validator(mode="after")
    def _kafka_is_told_what_it_needs(self) -> Self:
        for_sasl = {
            "KAFKA_SASL_MECHANISM": self.kafka_sasl_mechanism,
            "KAFKA_USERNAME": self.kafka_username,
            "KAFKA_PASSWORD": self.kafka_password,
        }
        sasl = self.kafka_security.startswith("SASL_")
        if wrong := [PREFIX + name for name, value in for_sasl.items() if (value is not None) != sasl]:
            fault = "must be set" if sasl else "would never be used"
            raise ValueError(f"{', '.join(wrong)} {fault}: DOCQA_KAFKA_SECURITY is {self.kafka_security}")
        if self.kafka_ca_file is not None and not self.kafka_security.endswith("SSL"):
            raise ValueError(
                f"DOCQA_KAFKA_CA_FILE would never be used: DOCQA_KAFKA_SECURITY is {self.kafka_security}, without TLS"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del env_settings, dotenv_settings, file_secret_settings  # ours knows which name sets which field
        return init_settings, _Environment(settings_cls)


class ObjectStoreSettings(BaseSettings):
    """For services that keep or read objects."""

    object_store: str = Field(
        pattern=r"^(file:///.+|s3://[a-z0-9][a-z0-9.-]{2,62})$",
        description="Where files are kept: file:///folder or s3://bucket.",
    )
    s3_endpoint: str | None = Field(default=None, description="host:port of the S3 service, for s3://.")
    s3_access_key: str | None = Field(default=None, description="Access key, for s3://.")
    s3_secret_key: SecretStr | None = Field(default=None, description="Secret key, for s3://.")
    s3_region: str = Field(default="us-east-1", description="Region, for s3://.")
    s3_secure: bool = Field(default=True, description="TLS towards the S3 service, for s3://.")


class ChromaSettings(BaseSettings):
    """For services that use the vector store."""

    chroma_url: HttpUrl = Field(description="Where the Chroma server listens.")


class OperatorSettings(BaseSettings):
    """For services that an operator commands."""

    operator_token: StrongSecret | None = Field(
        default=None,
        description="Secret of 32 characters or more of whoever operates docqa, for docqa reindex; else nobody may.",
    )


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def names_of(settings: type[ServiceSettings], field: str) -> list[str]:
    """The variables that set `field`, the one that wins first."""
    info = settings.model_fields[field]
    if info.validation_alias is not None:
        return _aliases(info.validation_alias)
    own = f"{PREFIX}{settings.service.upper()}_{field.upper()}"
    return [own, PREFIX + field.upper()] if _is_shared(settings, field, info) else [own]


def load(settings: type[SettingsT]) -> SettingsT:
    """The settings from the environment; if anything is wrong, all of it is printed and the process exits with 2."""
    mistakes = list(_unknown_names(settings, os.environ))
    try:
        loaded = settings()
    except ValidationError as error:
        _refuse(settings.service, [*mistakes, *_in_plain_words(settings, error)])
    if mistakes:
        _refuse(settings.service, mistakes)
    return loaded


def known_names(settings: type[ServiceSettings]) -> set[str]:
    """Every variable that `settings` reads."""
    return {name for field in settings.model_fields for name in names_of(settings, field)}


class _Environment(PydanticBaseSettingsSource):
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # __call__ answers for all fields at once

    def __call__(self) -> dict[str, Any]:
        if not issubclass(self.settings_cls, ServiceSettings):
            return {}
        return _values(self.settings_cls, os.environ)


def _values(settings: type[ServiceSettings], environ: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, by field. An empty variable says nothing: compose files pass on what is not set."""
    return {
        field: value
        for field in settings.model_fields
        if (value := next((environ[name] for name in names_of(settings, field) if environ.get(name)), None)) is not None
    }


def _aliases(alias: Any) -> list[str]:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)]


def _is_shared(settings: type[ServiceSettings], field: str, info: FieldInfo) -> bool:
    if any(isinstance(mark, PerService) for mark in info.metadata):
        return False
    declaring = next(kind for kind in settings.__mro__ if field in vars(kind).get("__annotations__", {}))
    return "service" not in vars(declaring) or declaring is ServiceSettings


def _unknown_names(settings: type[ServiceSettings], environ: Mapping[str, str]) -> Iterator[str]:
    mine = known_names(settings)
    known = mine | SHARED_NAMES | TOOL_NAMES
    others = tuple(f"{PREFIX}{name.upper()}_" for name in SERVICES if name != settings.service)
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name.startswith(others + TOOL_PREFIXES):
            continue
        nearest = difflib.get_close_matches(name, sorted(known), n=1)
        yield f"{name} is not a setting." + (f" Did you mean {nearest[0]}?" if nearest else "")


def _in_plain_words(settings: type[ServiceSettings], error: ValidationError) -> Iterator[str]:
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        field = str(mistake["loc"][0]) if mistake["loc"] else ""
        names = " or ".join(names_of(settings, field)) if field in settings.model_fields else field or "the settings"
        if mistake["type"] == "missing":
            description = settings.model_fields[field].description or ""
            yield f"{names} is missing. {description}".rstrip()
        else:
            yield f"{names}: {mistake['msg'].removeprefix('Value error, ')}"


def _refuse(service: str, mistakes: list[str]) -> NoReturn:
    sys.stderr.write(f"{service} cannot start, its settings are wrong:\n")
    sys.stderr.writelines(f"  - {mistake}\n" for mistake in mistakes)
    raise SystemExit(2)

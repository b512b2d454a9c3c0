"""Whether a database's schema is one that this release can work on, told without loading what migrates."""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select
from sqlalchemy.ext.asyncio import AsyncEngine

VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Where Alembic notes what it has run."""

FLOOR = Table("schema_floor", MetaData(), Column("revision", String(64), primary_key=True))
"""The oldest revision whose release still works on this database; no row: every one does."""


class WrongSchema(Exception):
    """The database's schema is not one that this release can work on."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"{service} cannot start: {reason}")
        self.service = service
        self.reason = reason


@dataclass(frozen=True)
class Revision:
    """One migration of this release; `down` is what it builds upon."""

    id: str
    down: frozenset[str]


async def refuse_wrong_schema(engine: AsyncEngine, service: str) -> None:
    """Raise `WrongSchema` if this release cannot work on the database: it is older, or past a breaking migration.

    A newer schema is fine as long as it only expanded: during a rolling upgrade, and after a rollback, the older
    release goes on working on it.
    """
    revisions = [read(file) for file in migrations_of(service)]
    known = {revision.id for revision in revisions}
    async with engine.connect() as connection:
        present, floors = await connection.run_sync(_state)
    if breaking := sorted(floors - known):
        raise WrongSchema(service, f"the database is past the breaking migration {breaking[0]}; run a newer release.")
    if present - known:
        return
    missing = known.difference(*(revision.down for revision in revisions)) - present
    if missing:
        at = ", ".join(sorted(present)) or "empty"
        raise WrongSchema(
            service,
            f"its database is at {at} and this release needs {', '.join(sorted(missing))}. "
            f"Run: python -m {service}.migrate",
        )


def migrations_of(service: str) -> list[Path]:
    """The files of its migrations, found without importing it."""
    spec = importlib.util.find_spec(service)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no package {service}", name=service)
    return sorted((Path(spec.origin).parent / "migrations" / "versions").glob("[!_]*.py"))


def read(migration: Path) -> Revision:
    """What a migration says of itself in its first lines, without running it."""
    said = dict(_said(ast.parse(migration.read_bytes(), migration)))
    down = said["down_revision"]
    return Revision(str(said["revision"]), frozenset(down if isinstance(down, tuple) else [str(down)] if down else []))


def _said(module: ast.Module) -> Iterator[tuple[str, object]]:
    for line in module.body:
        match line:
            case (
                ast.Assign(targets=[ast.Name(id="revision" | "down_revision" as name)], value=value)
                | ast.AnnAssign(target=ast.Name(id="revision" | "down_revision" as name), value=ast.expr() as value)
            ):
                yield name, ast.literal_eval(value)


def _state(connection: Connection) -> tuple[set[str], set[str]]:
    tables = set(inspect(connection).get_table_names())
    present, floors = (
        set(connection.scalars(select(table.primary_key.columns[0]))) if table.name in tables else set()
        for table in (VERSION, FLOOR)
    )
    return present, floors

"""`docqa dead-letters`: what a service could not read, handle or send, and asking it to try again.

Works on the services' own databases: those in `DOCQA_<SERVICE>_DATABASE_URL`, else those of the running stack.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from chassis.database import create_engine, create_sessions
from messaging import dead_letters
from messaging.tables import DeadLetter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from docqa.data_folder import RunningStack
from docqa.environment import SERVICES, given_database
from docqa.failing import NotRunning, PlainError

MOST_SHOWN = 200

T = TypeVar("T")


@dataclass(frozen=True)
class Letter:
    """A dead letter as it is shown."""

    service: str
    number: int
    at: datetime
    place: str
    reason: str
    detail: str
    state: str


def show(services: Sequence[str], data: Path, console: Console) -> None:
    """The latest of each service, oldest first."""
    found = asyncio.run(_in_each(_databases(services, data), _latest))
    letters = [letter for latest in found.values() for letter in latest]
    if not letters:
        console.print("No dead letters.", highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("service", "id", "since", "record", "reason", "detail", "state"):
        table.add_column(heading, overflow="fold")
    for letter in sorted(letters, key=lambda letter: (letter.at, letter.service, letter.number)):
        at = f"{letter.at:%Y-%m-%d %H:%M:%S}Z"
        cells = (letter.service, str(letter.number), at, letter.place, letter.reason, letter.detail, letter.state)
        table.add_row(*map(Text, cells))
    console.print(table)


def replay(
    services: Sequence[str], data: Path, console: Console, *, number: int | None = None, reason: str | None = None
) -> None:
    """Asks for one of one service, or for all (of a reason). What was replayed before stays as it is."""
    if number is not None and len(services) != 1:
        raise PlainError("A number names a dead letter of one service: say which one with --service.")

    async def ask(session: AsyncSession, _service: str) -> int:
        return await dead_letters.replay(session, letter_id=number, reason=reason)

    asked = asyncio.run(_in_each(_databases(services, data), ask))
    for service, count in asked.items():
        console.print(f"{service}: {count} will be handled again", highlight=False)
    if number is not None and not sum(asked.values()):
        raise PlainError(f"{services[0]} has no dead letter {number} that could be replayed.")


def _databases(services: Sequence[str], data: Path) -> dict[str, str]:
    if unknown := sorted(set(services) - set(SERVICES)):
        raise PlainError(f"{unknown[0]} is not a service; there are {', '.join(SERVICES)}.")
    wanted = services or SERVICES
    given = {service: url for service in wanted if (url := given_database(service, os.environ))}
    if services and len(given) == len(wanted):
        return given
    try:
        running = RunningStack.find(data).databases
    except NotRunning:
        if given:
            return given
        raise
    return {service: given.get(service, running[service]) for service in wanted}


async def _in_each(databases: Mapping[str, str], do: Callable[[AsyncSession, str], Awaitable[T]]) -> dict[str, T]:
    """What `do` gives for each service, in a transaction on its database."""
    given: dict[str, T] = {}
    for service, url in databases.items():
        engine = create_engine(url, application_name="docqa", pool_size=1)
        try:
            async with create_sessions(engine).begin() as session:
                given[service] = await do(session, service)
        except (SQLAlchemyError, OSError) as error:
            raise PlainError(f"The database of {service} cannot be asked ({type(error).__name__}).") from None
        finally:
            await engine.dispose()
    return given


async def _latest(session: AsyncSession, service: str) -> list[Letter]:
    rows = await session.scalars(select(DeadLetter).order_by(DeadLetter.id.desc()).limit(MOST_SHOWN))
    return [
        Letter(
            service=service,
            number=row.id,
            at=row.added_at,
            place=f"{row.topic}[{row.partition}]@{row.log_offset}" if row.partition >= 0 else f"{row.topic} (outbox)",
            reason=row.reason,
            detail=row.detail,
            state=row.state,
        )
        for row in rows
    ]

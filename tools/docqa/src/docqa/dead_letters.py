"""`docqa dead-letters`: what a service could not read, handle or send, and asking it to try again.

Works on the services' own databases: those in `DOCQA_<SERVICE>_DATABASE_URL`, else those of the running stack.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

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
    letters = asyncio.run(_of_all(_databases(services, data)))
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


def replay(services: Sequence[str], number: int | None, reason: str | None, data: Path, console: Console) -> None:
    """Asks for one of one service, or for all (of a reason). What was replayed before stays as it is."""
    if number is not None and len(services) != 1:
        raise PlainError("A number names a dead letter of one service: say which one with --service.")
    asked = asyncio.run(_replayed(_databases(services, data), number, reason))
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


async def _of_all(databases: dict[str, str]) -> list[Letter]:
    found: list[Letter] = []
    for service, url in databases.items():
        engine = create_engine(url, application_name="docqa", pool_size=1)
        try:
            async with create_sessions(engine)() as session:
                found += await _latest(session, service)
        except (SQLAlchemyError, OSError) as error:
            raise _away(service, error) from None
        finally:
            await engine.dispose()
    return found


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


async def _replayed(databases: dict[str, str], number: int | None, reason: str | None) -> dict[str, int]:
    asked: dict[str, int] = {}
    for service, url in databases.items():
        engine = create_engine(url, application_name="docqa", pool_size=1)
        try:
            async with create_sessions(engine).begin() as session:
                asked[service] = await dead_letters.replay(session, letter_id=number, reason=reason)
        except (SQLAlchemyError, OSError) as error:
            raise _away(service, error) from None
        finally:
            await engine.dispose()
    return asked


def _away(service: str, error: Exception) -> PlainError:
    return PlainError(f"The database of {service} cannot be asked ({type(error).__name__}).")

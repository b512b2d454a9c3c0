"""What has to be done now and then, by one replica at a time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, kw_only=True)
class Chore:
    """Something to do every so often. `run` gets a session of its own, committed when it returns.

    It is claimed first, in a transaction of its own, so `run` may commit in between and may call the outside while no
    transaction is open. It is harmless twice: a replica that dies over it is followed by another.
    """

    name: str
    every: timedelta
    run: Callable[[AsyncSession], Awaitable[None]]

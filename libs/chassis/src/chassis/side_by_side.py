"""Work at the same time, of which the first failure ends the rest."""

import asyncio
from collections.abc import Coroutine, Iterable


async def side_by_side(works: Iterable[Coroutine[object, object, None]]) -> None:
    """Returns when all are done. The first failure ends the others, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None

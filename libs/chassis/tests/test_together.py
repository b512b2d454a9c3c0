import asyncio

import pytest
from chassis.together import Together


class Well:
    """Gives a number, the next one each time, when it is told to."""

    def __init__(self) -> None:
        self.drawn = 0
        self.full = asyncio.Event()
        self.dry = False

    async def draw(self) -> int:
        self.drawn += 1
        mine = self.drawn
        await self.full.wait()
        if self.dry:
            raise LookupError
        return mine


async def waiting(together: Together[str, int], well: Well, count: int) -> list["asyncio.Task[int]"]:
    tasks = [asyncio.create_task(together.get("water", well.draw)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_what_several_want_is_got_once_and_the_next_time_anew() -> None:
    together, well = Together[str, int](), Well()
    tasks = await waiting(together, well, 3)
    well.full.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await together.get("water", well.draw) == 2


async def test_whoever_is_cancelled_takes_it_from_nobody() -> None:
    together, well = Together[str, int](), Well()
    first, second = await waiting(together, well, 2)
    first.cancel()
    await asyncio.sleep(0)
    well.full.set()
    assert await second == 1


async def test_all_who_wait_hear_of_a_failure() -> None:
    together, well = Together[str, int](), Well()
    well.dry = True
    tasks = await waiting(together, well, 2)
    well.full.set()
    for task in tasks:
        with pytest.raises(LookupError):
            await task

"""Many people with a document each, brought in once and measured by several rows."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from benchmarks import documents
from benchmarks.documents import File
from benchmarks.people import Person
from benchmarks.stands import Stand
from benchmarks.telling import Teller

AT_ONCE = 20
USERS, CHUNKS_EACH = 1000, 100


@dataclass(frozen=True)
class Member:
    """Somebody with one document, whose stream nobody follows any more."""

    person: Person
    document: str
    file: File


@dataclass(frozen=True)
class Crowd:
    """Close nothing of it: it ends with its stand."""

    members: Sequence[Member]
    chunks: int
    open: AsyncExitStack
    """What is forgotten here would be closed."""

    def somebody(self, chance: random.Random) -> Member:
        return chance.choice(self.members)


_CROWDS: "WeakKeyDictionary[Stand, Crowd]" = WeakKeyDictionary()


async def crowd_of(stand: Stand, tell: Teller, *, users: int = USERS, chunks_each: int = CHUNKS_EACH) -> Crowd:
    """The crowd of this stand, brought in now if it is not there yet."""
    if stand not in _CROWDS:
        _CROWDS[stand] = await _gathered(stand, tell, users, chunks_each)
    return _CROWDS[stand]


async def _gathered(stand: Stand, tell: Teller, users: int, chunks_each: int) -> Crowd:
    opened = AsyncExitStack()
    members = list[Member]()
    for start in range(0, users, AT_ONCE):
        with tell.step(f"{start} of {users} people have come"):
            some = min(AT_ONCE, users - start)
            members += await asyncio.gather(*(_member(stand, opened, chunks_each) for _ in range(some)))
    chunks = sum([await _chunks(member) for member in members])
    return Crowd(members, chunks, opened)


async def _member(stand: Stand, opened: AsyncExitStack, chunks: int) -> Member:
    person = await opened.enter_async_context(stand.person())
    file = documents.text_file(stand.fresh(), chunks=chunks)
    (document,) = await person.uploads(file)
    await person.until_ready([document])
    await person.stops_following()
    return Member(person, document, file)


async def _chunks(member: Member) -> int:
    answer = await member.person.http.get(f"/api/docs/{member.document}")
    return int(answer.raise_for_status().json()["chunk_count"])

"""People who upload while things break, and remember what they were told."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

import httpx

from tests.e2e.person import Person
from tests.integration.people import a_file, owner_of

DOCUMENTS_EACH = 40
"""Then somebody else goes on, long before her token expires."""

ACCEPTED = 202
REFUSED = 503
"""What is said while a store is away: then nothing is promised, and nothing may come of it."""

LONG_ONE_IN = 8


@dataclass
class History:
    """What one person was promised: documents by the hash of their bytes. An answer that was lost promises nothing."""

    owner: UUID
    promised: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    refused: int = 0


async def uploading(gateways: Sequence[str], drawn: random.Random, pause: float) -> list[History]:
    """One person after the other, until it is cancelled; then it tells what they know."""
    histories: list[History] = []
    seeds = iter(range(1_000_000))
    try:
        while True:
            async with Person(drawn.choice(gateways)) as person:
                try:
                    await person.signs_up()
                except (AssertionError, httpx.HTTPError):
                    await asyncio.sleep(pause)
                    continue
                history = History(owner_of(person))
                histories.append(history)
                for _ in range(DOCUMENTS_EACH):
                    await _uploads_one(person, drawn.choice(gateways), history, next(seeds), drawn)
                    await asyncio.sleep(pause)
    except asyncio.CancelledError:
        return histories


async def _uploads_one(person: Person, gateway: str, history: History, seed: int, drawn: random.Random) -> None:
    file = a_file(seed, sentences=400 if drawn.randrange(LONG_ONE_IN) == 0 else 3)
    digest = sha256(file[1]).hexdigest()
    history.unknown.add(digest)
    try:
        answer = await person.http.post(f"{gateway}/api/upload", files=[("files", file)])
    except httpx.HTTPError:
        return
    history.unknown.remove(digest)
    if answer.status_code == ACCEPTED:
        (document,) = answer.json()["documents"]
        history.promised[digest] = document["id"]
    else:
        assert answer.status_code == REFUSED, answer.text
        history.refused += 1

"""People with many documents, on any of several gateways."""

import asyncio
import json
import random
from base64 import urlsafe_b64decode
from uuid import UUID

from tests.e2e.person import Person

WORDS = """
    harbour lantern meadow copper violin glacier orchard compass timber saddle window thunder basket anchor velvet
    marble candle river falcon bridge garden mirror pepper ladder rocket silver tunnel walnut yellow zephyr
""".split()  # noqa: SIM905


def a_text(seed: int, *, sentences: int = 6) -> bytes:
    """The same for the same seed, and for no other."""
    drawn = random.Random(seed)
    told = [f"The keeper of house {seed} is called {drawn.choice(WORDS).title()} Number {seed}."]
    while len(told) < sentences:
        told.append(f"Item {len(told)} of house {seed} is a {' '.join(drawn.choices(WORDS, k=12))}.")
    return "\n\n".join(told).encode()


def owner_of(person: Person) -> UUID:
    token = person.http.headers["Authorization"].removeprefix("Bearer ")
    payload = token.split(".")[1]
    return UUID(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])


def elsewhere(person: Person, url: str) -> Person:
    """The same person at another gateway."""
    there = Person(url, person.email)
    there.http.headers["Authorization"] = person.http.headers["Authorization"]
    return there


async def uploads(people: list[Person], seeds: list[int], *, sentences: int = 6) -> dict[int, str]:
    """One text a seed, one after the other, at one gateway after the other; gives the documents' ids."""
    sent = {}
    for place, seed in enumerate(seeds):
        file = (f"house-{seed}.txt", a_text(seed, sentences=sentences), "text/plain")
        (document,) = await people[place % len(people)].uploads(file)
        sent[seed] = document["id"]
    return sent


async def all_ready(person: Person, documents: list[str], *, within: float = 120) -> None:
    """Waits until every one is; fails at once if one failed. A hundred documents at most."""
    waiting = set(documents)
    deadline = asyncio.get_running_loop().time() + within
    while waiting:
        assert asyncio.get_running_loop().time() < deadline, f"not ready after {within:.0f} s: {waiting}"
        listed = (await person.gets("/api/docs", limit=100))["items"]
        assert not [it for it in listed if it["status"] == "failed"], listed
        waiting = set(documents) - {it["id"] for it in listed if it["status"] == "ready"}
        await asyncio.sleep(0.2)


async def chunks_of(person: Person, document: str) -> list[tuple[int, int | None, int, int, str]]:
    """Ordinal, page, start, end and text of each."""
    found, cursor = [], None
    while True:
        page = await person.http.get(
            f"/api/docs/{document}/chunks", params={"limit": 100} | ({"cursor": cursor} if cursor else {})
        )
        assert page.status_code == 200, page.text
        body = page.json()
        found += [(it["ordinal"], it["page"], it["start"], it["end"], it["text"]) for it in body["items"]]
        if (cursor := body["next_cursor"]) is None:
            return found

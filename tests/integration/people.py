"""People with many documents, on any of several gateways."""

import asyncio
import json
import random
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from uuid import UUID

from tests.e2e.person import Json, Person
from tests.e2e.waiting import eventually

WORDS = """
    harbour lantern meadow copper violin glacier orchard compass timber saddle window thunder basket anchor velvet
    marble candle river falcon bridge garden mirror pepper ladder rocket silver tunnel walnut yellow zephyr
""".split()  # noqa: SIM905

READY_WITHIN = 120.0


def a_text(seed: int, *, sentences: int = 6) -> bytes:
    """The same for the same seed, and for no other."""
    drawn = random.Random(seed)
    told = [f"The keeper of house {seed} is called {drawn.choice(WORDS).title()} Number {seed}."]
    while len(told) < sentences:
        told.append(f"Item {len(told)} of house {seed} is a {' '.join(drawn.choices(WORDS, k=12))}.")
    return "\n\n".join(told).encode()


def a_file(seed: int, *, sentences: int = 6) -> tuple[str, bytes, str]:
    return f"house-{seed}.txt", a_text(seed, sentences=sentences), "text/plain"


def owner_of(person: Person) -> UUID:
    token = person.http.headers["Authorization"].removeprefix("Bearer ")
    payload = token.split(".")[1]
    return UUID(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])


def elsewhere(person: Person, url: str) -> Person:
    """The same person at another gateway."""
    there = Person(url, person.email)
    there.http.headers["Authorization"] = person.http.headers["Authorization"]
    return there


async def uploads(people: Sequence[Person], seeds: Sequence[int], *, sentences: int = 6) -> dict[int, str]:
    """One text a seed, one after the other, at one gateway after the other; gives the documents' ids."""
    sent = {}
    for place, seed in enumerate(seeds):
        (document,) = await people[place % len(people)].uploads(a_file(seed, sentences=sentences))
        sent[seed] = document["id"]
    return sent


async def all_ready(person: Person, count: int, *, within: float = READY_WITHIN) -> None:
    """Waits until everything of hers is, which are so many documents; fails at once if one failed."""
    counts: Json = {}

    async def ready() -> bool:
        nonlocal counts
        counts = (await person.gets("/api/docs", limit=1))["counts"]
        assert not counts.get("failed"), (await person.gets("/api/docs", status="failed"))["items"]
        return bool(counts.get("ready") == count)

    try:
        await eventually(ready, within=within)
    except TimeoutError:
        raise AssertionError(f"not ready after {within:.0f} s: {counts}") from None


async def chunks_of(person: Person, document: str) -> list[tuple[int, int | None, int, int, str]]:
    """Ordinal, page, start, end and text of each."""
    found, cursor = [], None
    while True:
        body = await person.gets(f"/api/docs/{document}/chunks", limit=100, **({"cursor": cursor} if cursor else {}))
        found += [(it["ordinal"], it["page"], it["start"], it["end"], it["text"]) for it in body["items"]]
        if (cursor := body["next_cursor"]) is None:
            return found


async def results(person: Person, documents: dict[int, str]) -> dict[int, Json]:
    """What can be seen of each document, without what differs between two of them by its nature."""
    seen = await asyncio.gather(*(_result(person, seed, document) for seed, document in documents.items()))
    return dict(zip(documents, seen, strict=True))


async def _result(person: Person, seed: int, document: str) -> Json:
    state = await person.gets(f"/api/docs/{document}")
    answer = await person.asks(f"What is the keeper of house {seed} called?", document_ids=[document])
    assert f"Number {seed}." in answer["answer"], answer
    assert {source["document_id"] for source in answer["sources"]} == {document}
    return {
        **{name: state[name] for name in ("status", "version", "pages", "chunk_count", "embedded_count", "sha256")},
        "chunks": await chunks_of(person, document),
    }

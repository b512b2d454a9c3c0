"""People who upload, ask, reprocess and delete while things break, and remember what they were told."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from hashlib import sha256

import httpx

from tests.chaos.history import History
from tests.e2e.person import Person
from tests.integration.people import a_file, owner_of

ACTS_EACH = 60
"""Then somebody else goes on, long before her token expires."""

PATIENCE = 10.0
"""Seconds: somebody's service may be frozen, and others have their turn."""

LONG_ONE_IN = 8

ACCEPTED = 202
REFUSED = 503
"""What is said while a store is away: then nothing is promised, and nothing may come of it."""
BUSY = 409
AWAY = {502, REFUSED, 504}


async def people(gateways: Sequence[str], drawn: random.Random, seeds: Iterator[int], pause: float) -> list[History]:
    """One person after the other, until it is cancelled; then it tells what they know."""
    histories: list[History] = []
    try:
        while True:
            async with Person(drawn.choice(gateways)) as person:
                person.http.timeout = httpx.Timeout(PATIENCE)
                try:
                    await person.signs_up()
                except (AssertionError, httpx.HTTPError):
                    await asyncio.sleep(pause)
                    continue
                history = History(owner_of(person))
                histories.append(history)
                actor = _Actor(person, gateways, history, seeds, drawn)
                for _ in range(ACTS_EACH):
                    await actor.acts()
                    await asyncio.sleep(pause)
    except asyncio.CancelledError:
        return histories


class _Actor:
    """One person, and what she does next."""

    def __init__(
        self, person: Person, gateways: Sequence[str], history: History, seeds: Iterator[int], drawn: random.Random
    ) -> None:
        self._person = person
        self._gateways = gateways
        self._history = history
        self._seeds = seeds
        self._drawn = drawn
        self._houses: dict[str, int] = {}
        """The seed of each document that was accepted."""
        self._sent: set[str] = set()
        """The name of each file that was sent, whatever became of it; nobody else sends one of the same name."""

    async def acts(self) -> None:
        acts: Mapping[Callable[[], Awaitable[None]], int] = {
            self._uploads: 60,
            self._asks: 22,
            self._deletes: 14,
            self._reprocesses: 4,
        }
        (act,) = self._drawn.choices(list(acts), weights=list(acts.values()))
        try:
            await act()
        except httpx.HTTPError:
            return

    async def _uploads(self) -> None:
        seed, history = next(self._seeds), self._history
        file = a_file(seed, sentences=400 if self._drawn.randrange(LONG_ONE_IN) == 0 else 3)
        digest = sha256(file[1]).hexdigest()
        history.unknown.add(digest)
        self._sent.add(file[0])
        answer = await self._person.http.post(self._at("/api/upload"), files=[("files", file)])
        history.unknown.remove(digest)
        if answer.status_code == ACCEPTED:
            (document,) = answer.json()["documents"]
            history.promised[digest] = document["id"]
            self._houses[document["id"]] = seed
        else:
            assert answer.status_code == REFUSED, answer.text
            history.refused += 1

    async def _deletes(self) -> None:
        if (document := self._one_of(self._history.kept)) is None:
            return
        self._history.perhaps_deleted.add(document)
        answer = await self._person.http.delete(self._at(f"/api/docs/{document}"))
        if answer.status_code == ACCEPTED:
            self._history.perhaps_deleted.remove(document)
            self._history.deleted[document] = answer.json()["deletion_id"]
        else:
            assert answer.status_code == REFUSED, answer.text

    async def _reprocesses(self) -> None:
        if (document := self._one_of(self._history.kept)) is not None:
            answer = await self._person.http.post(self._at(f"/api/docs/{document}/reprocess"))
            assert answer.status_code in {ACCEPTED, BUSY, REFUSED}, answer.text

    async def _asks(self) -> None:
        """About any document, most often about one that is deleted: of that one nothing may be heard any more."""
        gone = dict(self._history.deleted)
        document = self._one_of([*self._houses, *3 * list(gone)])
        if document is None:
            return
        question = f"What is the keeper of house {self._houses[document]} called?"
        answer = await self._person.http.post(self._at("/api/ask"), json={"question": question})
        if answer.status_code in AWAY:
            return
        assert answer.is_success, answer.text
        said, sources = answer.json()["answer"], answer.json()["sources"]
        self._history.answered += 1
        self._history.told += self._tells(said, document)
        self._history.seen += self._wrong(said, sources, gone)

    def _wrong(self, said: str, sources: list[dict[str, str]], gone: Mapping[str, str]) -> Iterator[str]:
        for document in {source["document_id"] for source in sources}:
            if document in gone:
                yield f"{document}: deleted, and a source"
        for name in {source["filename"] for source in sources} - self._sent:
            yield f"{name}: somebody else's, and a source"
        yield from (f"{document}: deleted, and told" for document in gone if self._tells(said, document))

    def _tells(self, said: str, document: str) -> bool:
        return f"Number {self._houses[document]}." in said

    def _at(self, path: str) -> str:
        return f"{self._drawn.choice(self._gateways)}{path}"

    def _one_of(self, documents: Sequence[str]) -> str | None:
        return self._drawn.choice(documents) if documents else None

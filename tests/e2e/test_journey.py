"""The whole of docqa as a person meets it: from signing up to a document that is provably gone."""

import asyncio
import itertools
from collections.abc import Callable

import httpx
import pytest
from docqa.stack import Stack

from tests.e2e.person import Event, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

PLANETS = [
    "The survey of the outer stations begins with a list of the crews. This page holds no figures.",
    "The lighthouse on Skerryvore stands 48 metres tall and was completed in the year 1844.",
    "The keeper of Skerryvore received a yearly wage of 62 pounds and a garden.",
    "Closing remarks thank the engineers, the masons and the boatmen of Tiree.",
]
TEXT = b"The reading room opens at nine. The night librarian is called Ottilie Brandt and keeps the spare key."
HEIGHT = "How tall is the lighthouse on Skerryvore?"
LIBRARIAN = "What is the night librarian called?"


def statuses(events: list[Event]) -> list[str]:
    return [status for status, _ in itertools.groupby(event.data["status"] for event in events)]


async def test_from_a_file_to_a_cited_answer_and_back_to_nothing(
    stack: Stack, pdf: Callable[[list[str]], bytes]
) -> None:
    async with Person(stack.url) as ada, Person(stack.url) as eve:
        await ada.signs_up()
        await eve.signs_up()

        # She uploads a PDF and a text, and follows both until they can be asked about.
        lighthouse, library = await ada.uploads(
            ("lighthouse.pdf", pdf(PLANETS), "application/pdf"), ("library.txt", TEXT, "text/plain")
        )
        seen = await ada.waits_for(lighthouse["id"], "ready")
        await ada.waits_for(library["id"], "ready")
        order = ["uploaded", "parsing", "embedding", "ready"]
        assert statuses(seen) == [status for status in order if status in statuses(seen)]
        assert seen[-1].data["pages"] == len(PLANETS)
        assert seen[-1].data["embedded_count"] == seen[-1].data["chunk_count"] > 0

        # The answer cites the page.
        answer = await ada.asks(HEIGHT)
        assert answer["answered"]
        assert "48 metres" in answer["answer"]
        cited = [source for source in answer["sources"] if source["cited"]]
        assert ("lighthouse.pdf", 2) in {(source["filename"], source["page"]) for source in cited}
        spoken = await ada.asks_aloud(LIBRARIAN, session_id=answer["session_id"], document_ids=[library["id"]])
        assert [name for name, _ in itertools.groupby(event.name for event in spoken)] == [
            "session",
            "sources",
            "token",
            "done",
        ]
        assert "Ottilie Brandt" in spoken[-1].data["answer"]
        assert "".join(event.data["text"] for event in spoken if event.name == "token") == spoken[-1].data["answer"]

        # What the documents do not say is not answered.
        unknown = await ada.asks("Who won the chess olympiad in Baku?")
        assert (unknown["answered"], unknown["sources"]) == (False, [])

        # Somebody else sees nothing of it.
        assert (await eve.asks(HEIGHT))["answered"] is False
        assert await eve.searches(HEIGHT) == []
        assert (await eve.http.get("/api/docs")).json()["items"] == []
        for path in ("", "/raw", "/chunks", "/timeline"):
            assert (await eve.http.get(f"/api/docs/{lighthouse['id']}{path}")).status_code == 404
        assert (await eve.http.get(f"/api/chats/{answer['session_id']}")).status_code == 404

        # Reprocessing never goes dark.
        again = await ada.http.post(f"/api/docs/{lighthouse['id']}/reprocess")
        assert again.status_code == 202, again.text
        assert again.json()["version"] == 2
        await _asks_until_live(ada, lighthouse["id"], version=2)

        # Everything is still there after a restart.
        await stack.stop()
        await stack.start()
        await ada.logs_in()
        assert "48 metres" in (await ada.asks(HEIGHT))["answer"]
        (found,) = (await ada.http.get("/api/docs", params={"q": "LIGHT"})).json()["items"]
        assert (found["status"], found["version"], found["live_version"]) == ("ready", 2, 2)

        # What is deleted is hidden at once, and then provably gone.
        deletion = await ada.deletes(lighthouse["id"])
        assert (await ada.asks(HEIGHT))["answered"] is False
        assert (await ada.http.get(f"/api/docs/{lighthouse['id']}/raw")).status_code == 404
        receipt = await _complete(ada, deletion["deletion_id"])
        assert set(receipt["stores"]) == {"files", "ingest", "embedder", "qa"}
        assert all(store["remaining"] == 0 for store in receipt["stores"].values())
        assert all(store["erased"] > 0 for store in receipt["stores"].values())
        assert (await ada.document(lighthouse["id"])).status_code == 404

        # The chat keeps its shape, and loses the words that came from it.
        messages = (await ada.http.get(f"/api/chats/{answer['session_id']}")).json()["messages"]
        assert next(message["redacted"] for message in messages if message["role"] == "assistant")
        assert "48 metres" not in str(messages)
        assert "Ottilie Brandt" in str(messages)


async def _asks_until_live(person: Person, document_id: str, *, version: int) -> None:
    """Ask without a pause while a new version is made: every answer must know the fact."""
    deadline = asyncio.get_running_loop().time() + 60
    while asyncio.get_running_loop().time() < deadline:
        assert "48 metres" in (await person.asks(HEIGHT))["answer"]
        if (await person.document(document_id)).json()["live_version"] == version:
            return
    raise AssertionError(f"version {version} did not become live")


async def _complete(person: Person, deletion_id: str) -> dict[str, dict[str, dict[str, int]]]:
    deadline = asyncio.get_running_loop().time() + 60
    while asyncio.get_running_loop().time() < deadline:
        answer: httpx.Response = await person.http.get(f"/api/deletions/{deletion_id}")
        assert answer.status_code == 200, answer.text
        if answer.json()["completed_at"]:
            receipt: dict[str, dict[str, dict[str, int]]] = answer.json()
            return receipt
        await asyncio.sleep(0.05)
    raise AssertionError(f"deletion {deletion_id} was not completed")

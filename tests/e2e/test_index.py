"""The index is only an index: its files can be thrown away, and with them what deleted vectors leave there."""

import asyncio

import pytest
from docqa.compacting import compact
from docqa.stack import Stack
from rich.console import Console

from tests.e2e.person import Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

QUESTION = "Who tunes the carillon?"
TEXT = b"The carillon in the tower has forty-nine bells. It is tuned by Marguerite Oyelaran every spring."


async def test_a_document_answers_after_its_index_was_thrown_away(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        (document,) = await ada.uploads(("tower.txt", TEXT, "text/plain"))
        await ada.waits_for(document["id"], "ready")

        await stack.stop()
        compact(stack.data, Console(quiet=True))
        assert not (stack.data / "chroma").exists()
        await stack.start()

        await ada.logs_in()
        assert "Marguerite Oyelaran" in await _answer(ada)
        (found,) = (await ada.http.get("/api/docs")).json()["items"]
        assert (found["status"], found["version"]) == ("ready", 1), "nothing was processed again"


async def _answer(person: Person) -> str:
    """Ask until the index is whole again; until then the only other answer is that it is not."""
    async with asyncio.timeout(60):
        while True:
            answer = await person.http.post("/api/ask", json={"question": QUESTION})
            if answer.status_code == 200:
                text: str = answer.json()["answer"]
                return text
            assert answer.json()["code"] == "service.unavailable", answer.text
            await asyncio.sleep(0.2)

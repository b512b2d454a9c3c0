"""Every fact of a real document is found, and what it does not say is not made up."""

import pytest
from docqa.stack import Stack

from tests.e2e.person import Person
from tests.samples import annual_report, handbook

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_each_fact_of_a_handbook_is_answered_with_its_page(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        (document,) = await ada.uploads(("handbook.pdf", handbook.handbook_pdf(), "application/pdf"))
        await ada.waits_for(document["id"], "ready")

        missed = []
        for fact in handbook.FACTS:
            answer = await ada.asks(fact.question)
            pages = {source["page"] for source in answer["sources"]}
            if fact.answer not in answer["answer"] or fact.page not in pages:
                missed.append((fact.question, answer["answer"], sorted(pages)))
        assert not missed

        made_up = []
        for question in handbook.UNANSWERABLE:
            answer = await ada.asks(question)
            if answer["answered"] or answer["sources"]:
                made_up.append((question, answer["answer"]))
        assert not made_up


async def test_a_long_report_is_ready_and_its_needles_are_found(stack: Stack) -> None:
    async with Person(stack.url) as ada:
        await ada.signs_up()
        (document,) = await ada.uploads(("report.pdf", annual_report.annual_report_pdf(), "application/pdf"))
        seen = await ada.waits_for(document["id"], "ready")
        assert seen[-1].data["pages"] == annual_report.PAGES
        counts = [event.data["embedded_count"] for event in seen if event.data["status"] == "embedding"]
        assert counts == sorted(counts), "progress never goes back"

        missed = []
        for fact in annual_report.FACTS:
            answer = await ada.asks(fact.question)
            if fact.page not in {source["page"] for source in answer["sources"]}:
                missed.append((fact.question, answer["answer"]))
        assert not missed

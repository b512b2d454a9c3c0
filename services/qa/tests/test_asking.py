"""Asking, through the front door."""

from typing import Any

PUMP = "The Kestrel pump runs at 4200 rpm and weighs 31 kilograms."
VALVE = "The Osprey valve opens at 7 bar and is made of bronze."


async def test_an_answer_cites_what_it_was_found_in(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, PUMP, VALVE)
    service.chat.will_say("It runs at ", "4200 rpm [1", "].")
    answer = await ada.answer("How fast does the Kestrel pump run?")
    assert answer["answer"] == "It runs at 4200 rpm [1]."
    assert answer["answered"] is True
    source = answer["sources"][0]
    assert source["document_id"] == str(document)
    assert (source["rank"], source["page"], source["text"], source["cited"]) == (1, 1, PUMP, True)
    assert source["chunk_id"] == f"{document}:1:0"
    assert source["links"] == {"document": f"/api/docs/{document}", "raw": f"/api/docs/{document}/raw"}
    assert source["filename"] == "pump.pdf"
    assert (source["start"], source["end"]) == (0, len(PUMP))
    assert answer["model"] == "scripted"
    assert {"embed", "vectors", "full_text", "check", "retrieve", "chat", "store", "total"} <= answer["timings"].keys()

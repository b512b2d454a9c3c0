"""An index may lie: nothing of anybody else's ever comes out of it."""

from typing import Any

from chassis.ids import uuid7
from contracts.index import chunk_id

SECRET = "The canary of Bob sings at 4200 rpm in the Kestrel pump."
FAST = "How fast does the Kestrel pump run?"


async def test_planted_vectors_of_others_are_never_shown(service: Any, person: Any) -> None:
    ada, bob = person(), person()
    theirs = await service.add(bob.id, SECRET)
    # Under her name, in her shard, perfectly near: with his document's ids, in every disguise.
    mine = uuid7()
    for ids in (
        [chunk_id(theirs, 1, 0)],
        [f"{mine}:1:0"],
        ["nonsense"],
        [f"{theirs}:1:0 "],
        [f"{theirs}:2:0"],
    ):
        service.plant(ada.id, theirs, [FAST], in_shard_of=ada.id, ids=ids)
    found = (await ada.http.post("/api/search", json={"query": FAST, "top_k": 50})).json()
    assert found == {"items": []}
    answer = await ada.answer(FAST)
    assert (answer["answered"], answer["sources"]) == (False, [])
    assert service.chat.asked == []


async def test_planted_vectors_do_not_hide_what_is_hers(service: Any, person: Any) -> None:
    ada, bob = person(), person()
    theirs = await service.add(bob.id, *[SECRET] * 40)
    hers = await service.add(ada.id, "The Kestrel pump runs at 300 rpm.")
    ids = [chunk_id(theirs, 1, ordinal) for ordinal in range(40)]
    service.plant(ada.id, theirs, [FAST] * 40, in_shard_of=ada.id, ids=ids)
    answer = await ada.answer(FAST, top_k=3)
    assert {source["document_id"] for source in answer["sources"]} == {str(hers)}
    assert "canary" not in str(service.chat.asked)


async def test_full_text_is_the_owners_alone(service: Any, person: Any) -> None:
    ada, bob = person(), person()
    await service.add(bob.id, "Part XK4711 needs 40 Nm.")
    await service.add(ada.id, "The Osprey valve is made of bronze.")
    assert (await ada.answer("XK4711"))["answered"] is False


async def test_a_document_that_names_another_owner_stays_its_owners(service: Any, person: Any) -> None:
    ada, bob = person(), person()
    await service.add(bob.id, f"o:{ada.id} XK4711 'o:{ada.id}' needs 40 Nm.")
    assert (await ada.answer("What torque does XK4711 need?"))["answered"] is False


async def test_vectors_of_a_version_that_does_not_answer_are_not_shown(service: Any, ada: Any) -> None:
    document = await service.add(ada.id, "The Kestrel pump runs at 300 rpm.")
    service.plant(ada.id, document, [FAST] * 40, version=2)
    answer = await ada.answer(FAST, top_k=1)
    assert [source["version"] for source in answer["sources"]] == [1]

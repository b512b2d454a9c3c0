"""The list: pages, orders, filters and counts; and what belongs to nobody one can see."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from .front_door import Gateway, Person, failed

NAMES = ["beta.txt", "Alpha.txt", "gamma.md", "älter.txt", "100%_sure.txt", "delta.txt", "alpha2.txt"]


@pytest.fixture
async def documents(ada: Person, bob: Person) -> dict[str, UUID]:
    await bob.has_uploaded("bobs.txt", b"his")
    return {name: await ada.has_uploaded(name, name.encode()) for name in NAMES}


async def pages(person: Person, limit: int = 3, **query: Any) -> list[list[str]]:
    found, cursor = [], None
    while True:
        params = {"limit": limit, **query} | ({"cursor": cursor} if cursor else {})
        answer = await person.http.get("/api/docs", params=params)
        assert answer.status_code == 200, answer.text
        found.append([item["filename"] for item in answer.json()["items"]])
        if (cursor := answer.json()["next_cursor"]) is None:
            return found


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("-created_at", NAMES[::-1]),
        ("created_at", NAMES),
        ("filename", sorted(NAMES, key=str.casefold)),
        ("-filename", sorted(NAMES, key=str.casefold, reverse=True)),
    ],
)
async def test_every_order_is_paged_completely(
    ada: Person, documents: dict[str, UUID], sort: str, names: list[str]
) -> None:
    found = await pages(ada, sort=sort)

    assert [name for page in found for name in page] == names
    assert [len(page) for page in found] == [3, 3, 1]


async def test_the_newest_twenty_come_first_unless_asked_otherwise(ada: Person) -> None:
    for number in range(22):
        await ada.has_uploaded(f"{number}.txt", str(number).encode())

    first, second = await pages(ada, limit=20)

    assert (first[0], len(first), second) == ("21.txt", 20, ["1.txt", "0.txt"])


@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("ALPHA", {"Alpha.txt", "alpha2.txt"}),
        ("ÄLT", {"älter.txt"}),
        ("%", {"100%_sure.txt"}),
        ("_", {"100%_sure.txt"}),
        ("\\", set()),
        ("nothing", set()),
        ("", set(NAMES)),
    ],
)
async def test_q_is_a_part_of_the_filename_whatever_its_case(
    ada: Person, documents: dict[str, UUID], q: str, names: set[str]
) -> None:
    assert {name for page in await pages(ada, q=q) for name in page} == names


async def test_statuses_filter_and_counts_ignore_it(gateway: Gateway, ada: Person, documents: dict[str, UUID]) -> None:
    await gateway.becomes_ready(ada.id, documents["beta.txt"])
    await gateway.hear(failed(ada.id, documents["gamma.md"]))

    answer = await ada.http.get("/api/docs", params={"status": ["ready", "failed"], "sort": "filename", "q": "a"})

    assert [item["filename"] for item in answer.json()["items"]] == ["beta.txt", "gamma.md"]
    assert answer.json()["counts"] == {
        "uploaded": 5, "parsing": 0, "embedding": 0, "ready": 1, "failed": 1, "deleting": 0
    }  # fmt: skip


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "status=gone", "sort=size", "cursor=forged", "q=%00", "q=" + "a" * 256,
     "limit=1e9", "limit=-1"],
)  # fmt: skip
async def test_a_query_that_makes_no_sense_is_refused(ada: Person, query: str) -> None:
    answer = await ada.http.get(f"/api/docs?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_an_empty_cursor_is_the_beginning(ada: Person, documents: dict[str, UUID]) -> None:
    del documents
    assert (await ada.http.get("/api/docs?cursor=")).json() == (await ada.http.get("/api/docs")).json()


async def test_a_cursor_of_another_order_is_refused(ada: Person, documents: dict[str, UUID]) -> None:
    cursor = (await ada.http.get("/api/docs?limit=1&sort=filename")).json()["next_cursor"]

    assert (await ada.http.get("/api/docs", params={"sort": "-filename", "cursor": cursor})).status_code == 422


async def test_somebody_elses_cursor_shows_ones_own_documents(
    ada: Person, bob: Person, documents: dict[str, UUID]
) -> None:
    cursor = (await ada.http.get("/api/docs?limit=1")).json()["next_cursor"]

    answer = await bob.http.get("/api/docs", params={"cursor": cursor})

    assert {item["filename"] for item in answer.json()["items"]} <= {"bobs.txt"}


async def test_a_document_shows_how_far_it_has_come(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    before = await ada.document(document)
    await gateway.becomes_ready(ada.id, document)

    after = await ada.document(document)

    assert (before["status"], before["last_processed_at"], before["live_version"]) == ("uploaded", None, None)
    assert (after["status"], after["chunk_count"], after["embedded_count"], after["pages"]) == ("ready", 3, 3, 2)
    assert (after["live_version"], after["version"]) == (1, 1)
    assert after["last_processed_at"] is not None
    assert after["updated_at"] > before["updated_at"]
    timeline = (await ada.http.get(after["links"]["timeline"])).json()["items"]
    assert [(item["event"], item["service"], item["attempt"]) for item in timeline] == [
        ("document.uploaded.v1", "gateway", 0),
        ("document.chunked.v1", "ingest", 1),
        ("document.embedded.v1", "embedder", 1),
        ("document.ready.v1", "qa", 1),
    ]
    assert timeline[1]["detail"] == "3 chunks on 2 pages"


async def test_a_fact_heard_again_changes_neither_document_nor_timeline(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.becomes_ready(ada.id, document)
    before, steps = await ada.document(document), (await ada.http.get(f"/api/docs/{document}/timeline")).json()

    await gateway.becomes_ready(ada.id, document)

    assert await ada.document(document) == before
    assert (await ada.http.get(f"/api/docs/{document}/timeline")).json() == steps


async def test_a_failure_is_shown_with_its_reason(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.hear(failed(ada.id, document))

    shown = await ada.document(document)

    assert shown["error"] == {
        "stage": "ingest", "code": "parse.timeout", "detail": "It took too long.", "retryable": True
    }  # fmt: skip
    assert shown["last_processed_at"] is not None


@pytest.mark.parametrize("version", [2, 99])
async def test_a_fact_about_a_version_that_never_was_changes_nothing(
    gateway: Gateway, ada: Person, version: int
) -> None:
    document = await ada.has_uploaded()

    await gateway.becomes_ready(ada.id, document, version)

    assert (await ada.document(document))["status"] == "uploaded"
    assert len((await ada.http.get(f"/api/docs/{document}/timeline")).json()["items"]) == 1


async def test_a_fact_under_another_owners_name_changes_nothing(gateway: Gateway, ada: Person, bob: Person) -> None:
    document = await ada.has_uploaded()

    await gateway.becomes_ready(bob.id, document)
    await gateway.becomes_ready(ada.id, uuid4())

    assert (await ada.document(document))["status"] == "uploaded"


ROUTES = [
    ("GET", "/api/docs/{id}"),
    ("GET", "/api/docs/{id}/raw"),
    ("POST", "/api/docs/{id}/raw-link"),
    ("GET", "/api/docs/{id}/chunks"),
    ("GET", "/api/docs/{id}/timeline"),
    ("POST", "/api/docs/{id}/reprocess"),
    ("DELETE", "/api/docs/{id}"),
    ("GET", "/api/deletions/{id}"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_somebody_elses_id_never_existed(
    gateway: Gateway, ada: Person, bob: Person, method: str, path: str
) -> None:
    document = await ada.has_uploaded()
    deleted = await ada.has_uploaded("b.txt", b"b")
    deletion = (await ada.http.delete(f"/api/docs/{deleted}")).json()["deletion_id"]

    def told(answer: Any) -> dict[str, Any]:
        return {name: value for name, value in answer.json().items() if name != "request_id"}

    never = await bob.http.request(method, path.format(id=uuid4()))
    assert never.status_code == 404
    for foreign in (document, deleted, deletion):
        answer = await bob.http.request(method, path.format(id=foreign))
        assert (answer.status_code, told(answer)) == (404, told(never))
    assert (await ada.document(document))["status"] == "uploaded"


async def test_what_is_no_id_is_a_clear_error(ada: Person) -> None:
    for method, path in ROUTES:
        for odd in ("x", "%00", "..%2f..", "1" * 500):
            answer = await ada.http.request(method, path.format(id=odd))
            assert answer.status_code in (404, 422), (method, path, odd)
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_status_and_owner_cannot_be_written(ada: Person, method: str) -> None:
    document = await ada.has_uploaded()

    answer = await ada.http.request(method, f"/api/docs/{document}", json={"status": "ready"})

    assert (answer.status_code, answer.json()["code"]) == (405, "route.method_not_allowed")


@pytest.mark.parametrize(("address", "methods"), [("events", "GET, HEAD"), ("reprocess", "POST"), ("delete", "POST")])
async def test_what_has_an_address_of_its_own_is_no_document(ada: Person, address: str, methods: str) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(methods.split(", ")):
        answer = await ada.http.request(method, f"/api/docs/{address}")

        assert (answer.status_code, answer.json()["code"]) == (405, "route.method_not_allowed"), method
        assert answer.headers["allow"] == methods
    assert (await ada.http.get(f"/api/docs/{address}s")).status_code == 422, "no id, as any other word"

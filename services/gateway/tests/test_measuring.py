"""What the metrics tell of a document's way."""

from prometheus_client import REGISTRY

from .front_door import Gateway, Person, a_life, failed


def counted() -> dict[str, float]:
    """How many stages, and whole ways, were measured so far."""
    stages = {
        stage: REGISTRY.get_sample_value("docqa_stage_seconds_count", {"stage": stage}) or 0.0
        for stage in ("ingest", "embedder", "qa")
    }
    return {**stages, "all": REGISTRY.get_sample_value("docqa_upload_to_ready_seconds_count") or 0.0}


def added(before: dict[str, float]) -> dict[str, float]:
    return {name: count - before[name] for name, count in counted().items()}


async def test_each_stage_of_a_version_that_became_ready_is_measured_once(gateway: Gateway, ada: Person) -> None:
    before = counted()
    document = await ada.has_uploaded()

    await gateway.becomes_ready(ada.id, document)
    await gateway.becomes_ready(ada.id, document)

    assert added(before) == {"ingest": 1, "embedder": 1, "qa": 1, "all": 1}


async def test_what_is_heard_together_has_its_order_and_its_measure(gateway: Gateway, ada: Person) -> None:
    before = counted()
    documents = [await ada.has_uploaded(f"{number}.txt", b"%d" % number) for number in range(2)]

    await gateway.hear_together(*(fact for document in documents for fact in a_life(ada.id, document)))

    assert added(before) == {"ingest": 2, "embedder": 2, "qa": 2, "all": 2}
    for document in documents:
        steps = (await ada.http.get(f"/api/docs/{document}/timeline")).json()["items"]
        told = [step["event"].split(".")[1] for step in steps]
        assert told == ["uploaded", "chunked", "embedded", "ready"]


async def test_a_step_that_was_not_heard_in_its_order_is_left_out(gateway: Gateway, ada: Person) -> None:
    before = counted()
    document = await ada.has_uploaded()
    chunked, embedded, ready = a_life(ada.id, document)

    await gateway.hear(chunked, ready, embedded)

    assert added(before) == {"ingest": 1, "embedder": 0, "qa": 0, "all": 1}


async def test_reprocessing_has_stages_and_is_no_upload(gateway: Gateway, ada: Person) -> None:
    document = await ada.has_uploaded()
    await gateway.hear(failed(ada.id, document))
    before = counted()
    await ada.http.post(f"/api/docs/{document}/reprocess")

    await gateway.becomes_ready(ada.id, document, version=2)

    assert added(before) == {"ingest": 1, "embedder": 1, "qa": 1, "all": 0}

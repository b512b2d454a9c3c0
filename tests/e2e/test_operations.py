"""docqa as those see it who run it: its models away, its engines gone, its traces, logs and metrics."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio
from docqa.embedded.children import Child
from docqa.stack import Stack
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.person import PASSWORD, Event, Json, Person
from tests.e2e.waiting import eventually
from tests.stubs.behaviour import Behaviour
from tests.stubs.collector import CollectorStub, Span
from tests.stubs.providers import GeminiStub, OpenAIStub

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

TEXT = "text/plain"
ORIGIN = "https://console.example"
CANARIES = {
    "text": "quokkaberry4417",
    "question": "tamarillo9923",
    "filename": "feijoa5518",
    "wrong password": "kumquat3306 and more",
}
SERVICES = ("gateway", "auth", "ingest", "embedder", "qa")
WRONG_KEY = "not-the-key"


@dataclass(frozen=True)
class Observed:
    """A stack with remote models, and everything that is outside of it."""

    stack: Stack
    embeddings: OpenAIStub
    chat: GeminiStub
    collector: CollectorStub

    @property
    def url(self) -> str:
        return self.stack.url

    async def metrics(self, service: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        async with httpx.AsyncClient() as prometheus:
            text = (await prometheus.get(f"{self.stack.addresses.url(service)}/metrics")).text
        families = text_string_to_metric_families(text)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def observed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    embeddings, chat, collector = OpenAIStub(), GeminiStub(), CollectorStub()
    user = {
        "DOCQA_EMBEDDING_MODEL": "openai:text-embedding-3-small",
        "DOCQA_OPENAI_BASE_URL": embeddings.base_url,
        "DOCQA_OPENAI_API_KEY": embeddings.api_key,
        "DOCQA_CHAT_MODEL": "google_genai:gemini-2.5-flash",
        "DOCQA_GOOGLE_BASE_URL": chat.base_url,
        "DOCQA_GOOGLE_API_KEY": chat.api_key,
        "DOCQA_PROVIDER_TIMEOUT": "1.5",
        "DOCQA_PROVIDER_RETRIES": "0",
        "DOCQA_EMBEDDER_TRIES": "2",
        "DOCQA_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "DOCQA_CORS_ORIGINS": ORIGIN,
        "DOCQA_GATEWAY_HEARTBEAT_SECONDS": "0.2",
    }
    try:
        async with Stack(tmp_path_factory.mktemp("observed"), user={**os.environ, **user}) as stack:
            yield Observed(stack, embeddings, chat, collector)
    finally:
        for stub in (embeddings, chat, collector):
            stub.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def vera(observed: Observed) -> AsyncIterator[Person]:
    """She has a document, and has asked about it; with her went every canary."""
    async with Person(observed.url) as vera:
        await vera.signs_up()
        wrong = {"email": vera.email, "password": CANARIES["wrong password"]}
        assert (await vera.http.post("/api/auth/login", json=wrong)).status_code == 401
        text = f"The {CANARIES['text']} ripens in the walled garden of Tresco.".encode()
        await vera.is_ready_with((f"{CANARIES['filename']}.txt", text, TEXT))
        answer = await vera.asks(f"Where does the {CANARIES['text']} of {CANARIES['question']} ripen in the garden?")
        assert answer["answered"], answer
        refused = await vera.http.post("/api/ask", json={"question": "", CANARIES["question"]: 1})
        assert refused.status_code == 422
        yield vera


async def test_one_upload_is_one_trace_over_four_services(observed: Observed, vera: Person) -> None:
    async def whole() -> list[Span] | None:
        for spans in observed.collector.traces().values():
            uploads = any(span.service == "gateway" and "/api/upload" in span.name for span in spans)
            ended = any(span.service == "gateway" and span.name == "hear document.ready.v1" for span in spans)
            if uploads and ended and _is_a_tree(spans):
                return list(spans)
        return None

    spans = await eventually(whole) or []
    assert {span.service for span in spans} - {"auth"} == {"gateway", "ingest", "embedder", "qa"}, "auth has the keys"
    names = {(span.service, span.name) for span in spans}
    flow = [
        ("ingest", "hear document.uploaded.v1"),
        ("ingest", "work parse"),
        ("embedder", "hear document.chunked.v1"),
        ("embedder", "work embed"),
        ("qa", "hear document.embedded.v1"),
    ]
    assert set(flow) <= names
    assert vera.email not in str(spans)


def _is_a_tree(spans: Sequence[Span]) -> bool:
    """One root, and every other span's parent is among them."""
    ids = {span.id for span in spans}
    return [span.parent in ids for span in spans].count(False) == 1


async def test_sending_facts_is_a_trace_of_its_own_and_looking_for_work_is_none(
    observed: Observed, vera: Person
) -> None:
    def roots() -> set[tuple[str, str]]:
        return {(span.service, span.name) for span in observed.collector.spans if not span.parent}

    async def all_have_sent() -> bool:
        return {(service, "send facts") for service in ("gateway", "ingest", "embedder", "qa")} <= roots()

    await vera.is_ready_with(("a third.txt", b"A third text.", TEXT))
    await eventually(all_have_sent)
    assert {name for _, name in roots()} & {"BEGIN", "SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "COMMIT"} == set()


async def test_logs_tie_it_together_and_keep_every_secret(observed: Observed, vera: Person) -> None:
    upload = (await vera.uploads(("another.txt", b"Another text.", TEXT)))[0]
    await vera.waits_for(upload["id"], "ready")
    token = vera.http.headers["Authorization"].removeprefix("Bearer ")
    secrets = [*CANARIES.values(), PASSWORD, token, token.split(".")[1], observed.chat.api_key, vera.email]
    logs = {path.stem: path.read_text() for path in (observed.stack.data / "logs").glob("*.log")}
    assert set(logs) >= set(SERVICES)
    for name, text in logs.items():
        assert [secret for secret in secrets if secret in text] == [], name
    for body in observed.collector.bodies:
        assert [secret for secret in secrets if secret.encode() in body] == []

    lines = [json.loads(line) for name in SERVICES for line in logs[name].splitlines()]
    of_it = [line for line in lines if line.get("document_id") == upload["id"]]
    assert {line["service"] for line in of_it} == {"gateway", "ingest", "embedder", "qa"}
    (trace,) = {line["trace_id"] for line in of_it if "event_id" in line}
    requests = [line for line in lines if line.get("trace_id") == trace and line["event"] == "request"]
    assert [line["route"] for line in requests] == ["/api/upload"]
    assert all(line["request_id"] for line in requests)


ASKING: list[tuple[str, Behaviour | str, int, str]] = [
    ("429", Behaviour(status=429, retry_after="7"), 503, "provider.unavailable"),
    ("500", Behaviour(status=500), 503, "provider.unavailable"),
    ("silence", Behaviour(delay=4), 504, "provider.timeout"),
    ("a cut stream", Behaviour(fault="cut"), 502, "provider.bad_answer"),
    ("no end", Behaviour(fault="no_end"), 502, "provider.bad_answer"),
    ("a page", Behaviour(fault="html"), 502, "provider.bad_answer"),
    ("a wrong key", WRONG_KEY, 503, "provider.misconfigured"),
]


async def test_trouble_with_the_model_has_a_name_and_the_next_question_is_answered(
    observed: Observed, vera: Person
) -> None:
    question = {"question": f"Where does the {CANARIES['text']} ripen?"}
    unlike = []
    for name, behaviour, status, code in ASKING:
        with _behaving(observed.chat, behaviour, "chat"):
            answer = await vera.http.post("/api/ask", json=question)
            stream = await vera.http.post("/api/ask", json=question, headers={"Accept": "text/event-stream"})
        told = _last(stream.text)
        if (answer.status_code, answer.json().get("code")) != (status, code):
            unlike.append((name, "JSON", answer.status_code, answer.text))
        if (stream.status_code, told.name, told.data.get("code"), told.data.get("status")) != (
            200,
            "error",
            code,
            status,
        ):
            unlike.append((name, "stream", stream.status_code, stream.text))
        if told.data.keys() != answer.json().keys():
            unlike.append((name, "fields", 0, stream.text))
        if observed.chat.api_key in answer.text + stream.text:
            unlike.append((name, "key", 0, ""))
    assert not unlike
    assert (await vera.asks(question["question"]))["answered"]


EMBEDDING: list[tuple[str, Behaviour | str, str, str]] = [
    ("a moment of 500", Behaviour(status=500), "ready", ""),
    ("a page", Behaviour(fault="html"), "failed", "provider.bad_answer"),
    ("a wrong key", WRONG_KEY, "waits", ""),
]


async def test_documents_outlive_trouble_with_their_model(observed: Observed, vera: Person) -> None:
    for number, (name, behaviour, end, code) in enumerate(EMBEDDING):
        content = f"A text that meets trouble number {number}.".encode()
        if end == "ready":
            assert isinstance(behaviour, Behaviour)
            observed.embeddings.embeddings.then(behaviour)
            await vera.is_ready_with((f"{number}.txt", content, TEXT))
            continue
        with _behaving(observed.embeddings, behaviour, "embeddings"):
            (document,) = await vera.uploads((f"{number}.txt", content, TEXT))
            if end == "waits":
                await eventually(lambda: _missing(observed, "embedder"))
                assert (await vera.gets(f"/api/docs/{document['id']}"))["status"] == "embedding", name
            else:
                failed = await vera.follows(document["id"], {"failed"})
                error = failed["error"]
                assert (error["stage"], error["code"], error["retryable"]) == ("embedder", code, True), name
        if end == "failed":
            (again,) = await vera.uploads(("again.txt", content, TEXT))
            assert (again["id"], again["duplicate"], again["version"]) == (document["id"], True, 2)
        ready = await vera.follows(document["id"], {"ready"})
        assert ready["error"] is None, name


async def _missing(observed: Observed, service: str) -> Json | None:
    """What its readiness says is missing; None while it is ready. It lives all the while."""
    async with httpx.AsyncClient(base_url=observed.stack.addresses.url(service), timeout=10) as probe:
        ready, live = await probe.get("/health/ready"), await probe.get("/health/live")
    assert live.status_code == 200, live.text
    missing: Json | None = ready.json().get("missing") if ready.status_code == 503 else None
    return missing


@contextmanager
def _behaving(stub: OpenAIStub | GeminiStub, behaviour: Behaviour | str, what: str) -> Iterator[None]:
    script = stub.embeddings if what == "embeddings" else stub.chat
    if isinstance(behaviour, str):
        stub.api_key = behaviour
    else:
        script.usual = behaviour
    try:
        yield
    finally:
        script.usual = Behaviour()
        stub.api_key = type(stub).api_key


def _last(text: str) -> Event:
    name, _, data = text.rstrip().rpartition("event: ")[2].partition("\ndata: ")
    return Event(name, json.loads(data))


async def test_pages_of_the_named_origin_may_call_and_no_others(observed: Observed) -> None:
    async with httpx.AsyncClient(base_url=observed.url) as browser:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = await browser.options("/api/ask", headers={"Origin": ORIGIN, **asks})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
        refused = await browser.options("/api/ask", headers={"Origin": "https://evil.example", **asks})
        assert (refused.status_code, refused.json()["code"]) == (400, "cors.refused")
        assert "access-control-allow-origin" not in refused.headers
        answer = await browser.get("/api/docs", headers={"Origin": ORIGIN})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, ORIGIN)
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert all(name in exposed for name in ("x-request-id", "retry-after", "content-disposition"))


async def test_the_stream_says_again_and_again_that_it_lives(observed: Observed, vera: Person) -> None:
    async with asyncio.timeout(20), vera.http.stream("GET", "/api/docs/events") as answer:
        heard = 0
        async for line in answer.aiter_lines():
            heard += line.startswith(":")
            if heard == 3:
                return


GONE = [
    # engine, what says so, who does not mind
    ("chroma", ("embedder", "qa"), ("gateway", "auth", "ingest")),
    ("broker", (), ("gateway",)),
    ("postgres", ("gateway", "auth", "ingest", "embedder", "qa"), ()),
]


@pytest.mark.parametrize(("engine", "minds", "does_not_mind"), GONE)
async def test_readiness_names_what_is_gone_and_nobody_is_dead_for_it(
    observed: Observed, vera: Person, engine: str, minds: tuple[str, ...], does_not_mind: tuple[str, ...]
) -> None:
    stack, documents = observed.stack, []
    part = {"chroma": stack.chroma, "broker": stack.broker, "postgres": stack.postgres}[engine]
    assert part is not None
    assert part.child is not None

    async def names_it(service: str) -> None:
        told = await eventually(lambda: _missing(observed, service)) or {}
        assert {"postgres": "database"}.get(engine, engine) in told, (service, told)

    with _standing_still(part.child):
        await asyncio.gather(*[names_it(service) for service in minds])
        for service in does_not_mind:
            assert await _missing(observed, service) is None
        if engine != "postgres":
            documents = await vera.uploads((f"without {engine}.txt", f"Without {engine}.".encode(), TEXT))
    for service in (*minds, *does_not_mind):
        await eventually(lambda service=service: _ready(observed, service))  # type: ignore[misc]
    for document in documents:
        await vera.waits_for(document["id"], "ready")


async def _ready(observed: Observed, service: str) -> bool:
    return await _missing(observed, service) is None


@contextmanager
def _standing_still(child: Child) -> Iterator[None]:
    """The process, and those that it started: they are there, and do not answer."""
    family = [child.pid, *map(int, Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split())]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_the_next_release_adds_a_column_everywhere_and_nobody_stumbles(observed: Observed, vera: Person) -> None:
    async def troubles() -> dict[str, float]:
        seen = {service: await observed.metrics(service) for service in SERVICES}
        return {
            service: sum(
                value
                for (name, labels), value in metrics.items()
                if name == "docqa_dead_letters_total"
                or (name == "docqa_facts_heard_total" and ("outcome", "error") in labels)
            )
            for service, metrics in seen.items()
        }

    async def live(number: str) -> None:
        texts = [(f"{number} {n}.txt", f"Release {number} has part {n}.".encode(), TEXT) for n in range(4)]
        for document in await vera.is_ready_with(*texts):
            assert (await vera.asks(f"Which part has release {number}?", document_ids=[document["id"]]))["sources"]
            await vera.receipt((await vera.deletes(document["id"]))["deletion_id"])

    await live("one")  # its statements are known to every connection
    before = await troubles()
    for change in ("ADD COLUMN of_the_next_release int DEFAULT 1", "DROP COLUMN of_the_next_release"):
        await _alter_all_tables(observed.stack, change)
        await live(change.split()[0].casefold())
    assert await troubles() == before


async def _alter_all_tables(stack: Stack, change: str) -> None:
    assert stack.postgres is not None
    for service in SERVICES:
        connection = await asyncpg.connect(stack.postgres.url(service).replace("+asyncpg", "", 1))
        try:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for table in tables:
                await connection.execute(f'ALTER TABLE "{table["tablename"]}" {change}')
        finally:
            await connection.close()


async def test_metrics_tell_what_happened(observed: Observed, vera: Person) -> None:
    async def counted() -> bool:
        ready = ("docqa_documents", frozenset({("status", "ready")}))
        return (await observed.metrics("gateway")).get(ready, 0) >= 1

    assert await eventually(counted), "it looks every few seconds"
    seen = {service: await observed.metrics(service) for service in SERVICES}

    def value(service: str, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (one, own), value in seen[service].items() if one == name and wanted <= own)

    stages = {"ingest", "embedder", "qa"}
    assert value("gateway", "docqa_upload_to_ready_seconds_count") >= 1
    assert 0 < value("gateway", "docqa_upload_to_ready_seconds_sum") < 300
    assert all(value("gateway", "docqa_stage_seconds_count", stage=stage) >= 1 for stage in stages)
    upload = {"method": "POST", "route": "/api/upload", "status": "202"}
    assert value("gateway", "docqa_http_requests_total", **upload) >= 1
    assert value("gateway", "docqa_outbox_sent_total", type="document.uploaded.v1") >= 1
    for service, heard in [
        ("ingest", "document.uploaded.v1"),
        ("embedder", "document.chunked.v1"),
        ("qa", "document.embedded.v1"),
        ("gateway", "document.ready.v1"),
    ]:
        assert value(service, "docqa_facts_heard_total", type=heard, outcome="handled") >= 1
    for service, kind in [("ingest", "parse"), ("embedder", "embed")]:
        assert value(service, "docqa_job_seconds_count", kind=kind, outcome="done") >= 1
    assert value("embedder", "docqa_provider_calls_total", provider="openai", outcome="ok") >= 1
    assert value("qa", "docqa_provider_calls_total", provider="google_genai", operation="chat", outcome="ok") >= 1
    assert value("qa", "docqa_provider_tokens_total", provider="google_genai", direction="input") > 0
    assert value("qa", "docqa_ask_step_seconds_count") >= 3
    assert value("qa", "docqa_asks_total") >= 1
    for service in SERVICES:
        names = {name for name, _ in seen[service]}
        assert {"docqa_outbox_depth", "docqa_outbox_oldest_seconds", "docqa_consumer_lag"} <= names, service
        assert value(service, "docqa_dead_letters_total") == 0
        assert value(service, "docqa_outbox_oldest_seconds") < 60
        labels = {pair for _, own in seen[service] for pair in own}
        assert not any(vera.email in told or CANARIES["filename"] in told for _, told in labels)


async def test_one_document_does_not_wait_for_anothers_hundred(observed: Observed) -> None:
    """Last: it leaves a backlog."""
    async with Person(observed.url) as many, Person(observed.url) as one:
        await many.signs_up()
        await one.signs_up()
        began = time.monotonic()
        await one.is_ready_with(("idle.txt", b"Uploaded while nothing happens.", TEXT))
        idle = time.monotonic() - began
        observed.embeddings.embeddings.usual = Behaviour(delay=1.0)
        try:
            for call in range(5):
                await many.uploads(*[(f"{n}.txt", f"Text {n} of {call}.".encode(), TEXT) for n in range(20)])
            began = time.monotonic()
            (single,) = await one.uploads(("single.txt", b"Uploaded behind a hundred others.", TEXT))
            before = (await many.gets("/api/docs"))["counts"]["ready"]
            await one.waits_for(single["id"], "ready")
            waited, meanwhile = time.monotonic() - began, (await many.gets("/api/docs"))["counts"]["ready"] - before
        finally:
            observed.embeddings.embeddings.usual = Behaviour()
        assert before + meanwhile < 100, "there was a queue to wait in"
        assert meanwhile < 50 or waited < 3 * idle, (idle, waited, before, meanwhile)

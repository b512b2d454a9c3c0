"""Embeddings over real HTTP, from an OpenAI-compatible and a Gemini-compatible server."""

import asyncio
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from chassis.failures import Failure, Misconfigured, Permanent, Transient
from models.embeddings import open_embeddings
from models.settings import ModelSettings

from libs.models.tests.providers import Remote, openai
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub
from tests.stubs.vectors import vector_of

TEXTS = [f"fact number {number} about herons" for number in range(10)]


async def test_one_vector_a_text_in_their_order(remote: Remote) -> None:
    model = open_embeddings(remote.settings())
    vectors = await model.embed_texts(TEXTS)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [vector_of(text, model.dimension) for text in TEXTS], atol=1e-6)
    assert np.allclose(await model.embed_question("herons"), vector_of("herons", model.dimension), atol=1e-6)
    assert (await model.embed_texts([])).shape == (0, model.dimension)


async def test_texts_are_spread_over_calls_and_never_more_calls_than_allowed(remote: Remote) -> None:
    remote.stub.embeddings.usual = Behaviour(delay=0.05)
    model = open_embeddings(remote.settings(provider_texts_per_call=2, provider_in_flight=3))
    vectors = await model.embed_texts(TEXTS)
    seen = remote.stub.embeddings.seen
    assert len(vectors) == 10
    assert seen.texts_per_call == [2] * 5
    assert seen.most_in_flight == 3


async def test_a_server_that_packs_no_vectors_is_understood(openai_stub: OpenAIStub) -> None:
    openai_stub.embeddings.usual = Behaviour(packs=False)
    model = open_embeddings(openai(openai_stub).settings())
    vectors = await model.embed_texts(TEXTS)
    assert np.allclose(vectors, [vector_of(text, model.dimension) for text in TEXTS], atol=1e-6)


async def test_closing_keeps_no_connection(remote: Remote) -> None:
    with closing(type(remote.stub)()) as stub:
        model = open_embeddings(replace(remote, stub=stub).settings())
        await model.embed_question("herons")
        assert stub.connections == 1, "kept for the next call"
        await model.close()
        async with asyncio.timeout(5):
            while stub.connections:  # noqa: ASYNC110 - it is another thread that sees them go
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [
        (Behaviour(status=401), Misconfigured, "provider.misconfigured"),
        (Behaviour(status=403), Misconfigured, "provider.misconfigured"),
        (Behaviour(status=404), Misconfigured, "provider.misconfigured"),
        (Behaviour(status=408), Transient, "provider.timeout"),
        (Behaviour(status=425), Transient, "provider.unavailable"),
        (Behaviour(status=429), Transient, "provider.unavailable"),
        (Behaviour(status=500), Transient, "provider.unavailable"),
        (Behaviour(status=503), Transient, "provider.unavailable"),
        (Behaviour(status=504), Transient, "provider.timeout"),
        (Behaviour(status=400), Permanent, "provider.refused"),
        (Behaviour(status=413), Permanent, "provider.refused"),
        (Behaviour(fault="hang"), Transient, "provider.timeout"),
        (Behaviour(fault="drip"), Transient, "provider.timeout"),
        (Behaviour(fault="cut"), Transient, "provider.unavailable"),
        (Behaviour(fault="html"), Transient, "provider.bad_answer"),
        (Behaviour(fault="not_json"), Transient, "provider.bad_answer"),
        (Behaviour(fault="nan"), Transient, "provider.bad_answer"),
        (Behaviour(fault="wrong_count"), Transient, "provider.bad_answer"),
        (Behaviour(fault="wrong_dimension"), Misconfigured, "provider.misconfigured"),
    ],
    ids=lambda value: str(value.status or value.fault) if isinstance(value, Behaviour) else "",
)
async def test_each_trouble_has_its_kind(remote: Remote, behaviour: Behaviour, kind: type[Failure], code: str) -> None:
    remote.stub.embeddings.usual = behaviour
    model = open_embeddings(remote.settings(provider_timeout=0.5))
    with pytest.raises(Failure) as caught:
        await model.embed_texts(TEXTS)
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert remote.stub.embeddings.seen.calls == 1, "documents are not tried again here: their job is"


async def test_the_pause_that_the_provider_asks_for_is_passed_on(remote: Remote) -> None:
    remote.stub.embeddings.then(Behaviour(status=429, retry_after="17"))
    with pytest.raises(Transient) as caught:
        await open_embeddings(remote.settings()).embed_texts(TEXTS)
    assert caught.value.retry_after == 17


async def test_a_wrong_key_is_a_matter_of_configuration(remote: Remote) -> None:
    with pytest.raises(Misconfigured, match="refuses our key"):
        await open_embeddings(remote.settings(key="wrong")).embed_texts(TEXTS)


@pytest.mark.parametrize("name", ["openai:text-embedding-3-small", "google_genai:gemini-embedding-001"])
async def test_a_missing_key_is_said_when_it_is_needed(name: str) -> None:
    model = open_embeddings(ModelSettings(embedding_model=name))
    with pytest.raises(Misconfigured, match="API_KEY"):
        await model.embed_texts(TEXTS)


async def test_nobody_listening_is_trouble_that_may_pass(remote: Remote) -> None:
    settings = remote.settings(**{f"{remote.key_name}_base_url": "http://127.0.0.1:1"})
    with pytest.raises(Transient, match="cannot be reached"):
        await open_embeddings(settings).embed_texts(TEXTS)


async def test_a_question_is_asked_again_after_trouble_that_may_pass(remote: Remote) -> None:
    remote.stub.embeddings.then(Behaviour(status=503), Behaviour(fault="html"))
    model = open_embeddings(remote.settings(provider_retries=2))
    assert (await model.embed_question("herons")).shape == (model.dimension,)
    assert remote.stub.embeddings.seen.calls == 3


async def test_a_question_does_not_wait_for_a_long_pause(remote: Remote) -> None:
    remote.stub.embeddings.then(Behaviour(status=429, retry_after="60"))
    model = open_embeddings(remote.settings(provider_retries=2))
    async with asyncio.timeout(5):
        with pytest.raises(Transient):
            await model.embed_question("herons")
    assert remote.stub.embeddings.seen.calls == 1


async def test_whoever_asks_waits_for_no_longer_than_one_call_may_take(remote: Remote) -> None:
    remote.stub.embeddings.usual = Behaviour(fault="hang")
    model = open_embeddings(remote.settings(provider_retries=2, provider_in_flight=1, provider_timeout=0.5))
    began = asyncio.get_running_loop().time()
    asked = await asyncio.gather(*(model.embed_question("herons") for _ in range(5)), return_exceptions=True)
    assert asyncio.get_running_loop().time() - began < 2
    assert {getattr(failure, "code", failure) for failure in asked} == {"provider.timeout"}


async def test_a_pause_that_one_call_was_asked_for_is_kept_by_all_that_have_time(remote: Remote) -> None:
    remote.stub.embeddings.then(Behaviour(status=429, retry_after="1"))
    model = open_embeddings(remote.settings(provider_in_flight=1))
    with pytest.raises(Transient):
        await model.embed_texts(TEXTS[:1])
    texts = [asyncio.create_task(model.embed_texts(TEXTS[:1])) for _ in range(5)]
    await asyncio.sleep(0.3)
    assert remote.stub.embeddings.seen.calls == 1
    await model.embed_question("herons")  # somebody waits, and tries
    assert remote.stub.embeddings.seen.calls == 2
    async with asyncio.timeout(10):
        await asyncio.gather(*texts)


async def test_a_question_is_never_asked_again_with_a_wrong_key(remote: Remote) -> None:
    remote.stub.embeddings.usual = Behaviour(status=401)
    with pytest.raises(Misconfigured):
        await open_embeddings(remote.settings(provider_retries=2)).embed_question("herons")
    assert remote.stub.embeddings.seen.calls == 1


async def test_one_failing_call_ends_the_others(remote: Remote) -> None:
    remote.stub.embeddings.then(Behaviour(status=500))
    remote.stub.embeddings.usual = Behaviour(fault="hang")
    model = open_embeddings(remote.settings(provider_texts_per_call=5))
    async with asyncio.timeout(10):
        with pytest.raises(Transient, match="500"):
            await model.embed_texts(TEXTS)

"""Streamed answers over real HTTP, from an OpenAI-compatible and a Gemini-compatible server."""

import asyncio
from contextlib import aclosing

import pytest
from chassis.failures import Failure, Misconfigured, Permanent, Transient
from chassis.logs import explain
from models.chains import chain_of
from models.chat import ChatModel, Delta, Message, Usage, open_chat
from models.failures import out_of_time
from models.settings import ModelSettings

from libs.models.tests.providers import Remote
from tests.stubs.behaviour import Behaviour

MESSAGES = [
    Message("system", "Answer from the passages only. {secret} {{7*7}}"),
    Message("user", "What came before?"),
    Message("assistant", "This."),
    Message("user", "When was it lit?"),
]


async def ask(model: ChatModel) -> tuple[str, Usage | None]:
    text, usage = "", None
    async for piece in model.stream(MESSAGES, question="When was it lit?", passages=["In 1887."]):
        match piece:
            case Delta():
                text += piece.text
            case Usage():
                usage = piece
    return text, usage


async def test_an_answer_comes_in_pieces_and_then_what_it_cost(remote: Remote) -> None:
    remote.stub.chat.usual = Behaviour(answer="It was lit in 1887 [1].")
    pieces = [
        piece async for piece in open_chat(remote.settings()).stream(MESSAGES, question="When?", passages=["In 1887."])
    ]
    assert pieces[-1] == Usage(11, 7)
    assert len(pieces) == 5
    assert "".join(piece.text for piece in pieces[:-1] if isinstance(piece, Delta)) == "It was lit in 1887 [1]."


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
async def test_what_a_provider_says_of_a_question_is_not_logged(remote: Remote, status: int) -> None:
    remote.stub.chat.usual = Behaviour(status=status, says="I cannot tell when it was lit")

    with pytest.raises(Failure) as failed:
        await ask(open_chat(remote.settings()))

    told = " < ".join(explain(error) for error in chain_of(failed.value))
    assert f"HTTP {status}" in told
    assert "cannot tell" not in told


async def test_what_no_store_takes_is_replaced(remote: Remote) -> None:
    remote.stub.chat.usual = Behaviour(answer="Lit\x00in \ud800 1887 [1].")
    text, _ = await ask(open_chat(remote.settings()))
    assert text == "Lit in \ufffd 1887 [1]."


async def test_the_whole_conversation_is_sent_and_nothing_in_it_is_a_template(remote: Remote) -> None:
    await ask(open_chat(remote.settings()))
    (prompt,) = remote.stub.chat.seen.prompts
    for message in MESSAGES:
        assert message.content in prompt


async def test_no_environment_sends_questions_to_another_than_the_provider(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_BASE_URL", remote.stub.base_url)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", remote.stub.base_url)
    await ask(open_chat(remote.settings(**{f"{remote.key_name}_base_url": None})))
    assert remote.stub.chat.seen.calls == 1


async def test_the_first_piece_is_there_before_the_last_is_written(remote: Remote) -> None:
    remote.stub.chat.usual = Behaviour(between=0.2, pieces=4)
    clock = asyncio.get_running_loop().time
    came = [clock() async for piece in open_chat(remote.settings()).stream(MESSAGES, question="", passages=[])]
    assert came[-1] - came[0] > 0.4


@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [
        (Behaviour(status=401), Misconfigured, "provider.misconfigured"),
        (Behaviour(status=404), Misconfigured, "provider.misconfigured"),
        (Behaviour(status=429), Transient, "provider.unavailable"),
        (Behaviour(status=500), Transient, "provider.unavailable"),
        (Behaviour(status=400), Permanent, "provider.refused"),
        (Behaviour(fault="hang"), Transient, "provider.timeout"),
        (Behaviour(fault="html"), Transient, "provider.bad_answer"),
        (Behaviour(fault="empty"), Transient, "provider.bad_answer"),
        (Behaviour(fault="no_end"), Transient, "provider.bad_answer"),
        (Behaviour(fault="not_json"), Transient, "provider.bad_answer"),
        (Behaviour(fault="cut"), Transient, "provider.bad_answer"),
    ],
    ids=lambda value: str(value.status or value.fault) if isinstance(value, Behaviour) else "",
)
async def test_each_trouble_has_its_kind(remote: Remote, behaviour: Behaviour, kind: type[Failure], code: str) -> None:
    remote.stub.chat.usual = behaviour
    with pytest.raises(Failure) as caught:
        await ask(open_chat(remote.settings(provider_timeout=0.5)))
    assert (type(caught.value), caught.value.code) == (kind, code)


async def test_an_answer_that_drips_for_ever_ends_at_the_time_limit(remote: Remote) -> None:
    remote.stub.chat.usual = Behaviour(fault="drip", answer="word " * 200, pieces=100)
    async with asyncio.timeout(5):
        with pytest.raises(Transient, match="did not answer within"):
            await ask(open_chat(remote.settings(provider_timeout=30, chat_time_limit=1)))


@pytest.mark.parametrize("name", ["openai:gpt-4o-mini", "google_genai:gemini-2.5-flash"])
async def test_a_missing_key_is_said_when_it_is_needed(name: str) -> None:
    with pytest.raises(Misconfigured, match="API_KEY"):
        await ask(open_chat(ModelSettings(chat_model=name)))


async def test_nobody_listening_is_trouble_that_may_pass(remote: Remote) -> None:
    settings = remote.settings(**{f"{remote.key_name}_base_url": "http://127.0.0.1:1"})
    with pytest.raises(Transient, match="cannot be reached"):
        await ask(open_chat(settings))


async def test_a_call_that_has_not_begun_to_answer_is_made_again(remote: Remote) -> None:
    remote.stub.chat.then(Behaviour(status=503, retry_after="0"), Behaviour(fault="empty"))
    text, usage = await ask(open_chat(remote.settings(provider_retries=2)))
    assert text == "The first passage says so [1]."
    assert usage == Usage(11, 7)
    assert remote.stub.chat.seen.calls == 3


async def test_an_answer_that_has_begun_is_never_made_again(remote: Remote) -> None:
    remote.stub.chat.usual = Behaviour(fault="no_end")
    with pytest.raises(Transient, match="breaks off"):
        await ask(open_chat(remote.settings(provider_retries=2)))
    assert remote.stub.chat.seen.calls == 1


async def test_who_stops_listening_ends_the_call_and_frees_its_place(remote: Remote) -> None:
    remote.stub.chat.usual = Behaviour(between=0.2, answer="word " * 50, pieces=50)
    model = open_chat(remote.settings(provider_in_flight=1))
    async with aclosing(model.stream(MESSAGES, question="", passages=[])) as stream:
        await anext(stream)
    remote.stub.chat.usual = Behaviour()
    async with asyncio.timeout(5):
        await ask(model)


async def test_the_time_limit_of_an_answer_counts_from_the_question(remote: Remote) -> None:
    remote.stub.chat.usual = Behaviour(fault="hang")
    model = open_chat(remote.settings(provider_in_flight=1, provider_timeout=0.6, chat_time_limit=1))
    began = asyncio.get_running_loop().time()
    asked = await asyncio.gather(*(ask(model) for _ in range(5)), return_exceptions=True)
    assert asyncio.get_running_loop().time() - began < 3
    assert {getattr(failure, "code", failure) for failure in asked} == {"provider.timeout"}
    assert {getattr(failure, "detail", failure) for failure in asked} <= {told(0.6), told(1)}


def told(seconds: float) -> str:
    return out_of_time(seconds).detail


async def test_calls_beyond_the_limit_wait(remote: Remote) -> None:
    # Long enough for the second call to begin while the first is answered, on a busy machine, too.
    remote.stub.chat.usual = Behaviour(delay=0.5)
    model = open_chat(remote.settings(provider_in_flight=2))
    await asyncio.gather(*(ask(model) for _ in range(6)))
    assert remote.stub.chat.seen.most_in_flight == 2

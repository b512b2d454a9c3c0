"""What servers say that speak OpenAI's protocol each in their own way."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from chassis.failures import Failure, Misconfigured, Permanent, Transient
from models.chat import Delta, Message, Usage, open_chat
from models.embeddings import open_embeddings
from models.settings import ModelSettings
from pydantic import SecretStr

from tests.stubs.http import HttpStub, Reply, Request

END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


class Server:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.chunks: list[object] = []
        self.vectors: object = []
        self._stub = HttpStub(self._answer)

    @property
    def settings(self) -> ModelSettings:
        return ModelSettings(
            embedding_model="openai:text-embedding-3-small",
            chat_model="openai:some-model",
            openai_api_key=SecretStr("a-good-key"),
            openai_base_url=self._stub.url,
            provider_retries=0,
        )

    def close(self) -> None:
        self._stub.close()

    async def _answer(self, request: Request, reply: Reply) -> None:
        if request.path.endswith("/embeddings"):
            await reply.json(200, {"data": self.vectors})
            return
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in self.chunks]
        await reply.send(200, "".join([*lines, "data: [DONE]\n\n"]).encode(), kind="text/event-stream")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def says(content: object, **choice: Any) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None, **choice}]}


async def hear(server: Server, *chunks: object) -> tuple[str, Usage | None]:
    server.chunks = list(chunks)
    model = open_chat(server.settings)
    text, usage = "", None
    try:
        async for piece in _pieces(model):
            if isinstance(piece, Delta):
                text += piece.text
            else:
                usage = piece
    finally:
        await model.close()
    return text, usage


def _pieces(model: Any) -> AsyncIterator[Delta | Usage]:
    pieces: AsyncIterator[Delta | Usage] = model.stream([Message("user", "When?")], question="When?", passages=[])
    return pieces


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
        ({"prompt_tokens": 5}, Usage(5, 0)),
        ({"prompt_tokens": 5, "completion_tokens": None}, Usage(5, 0)),
        ({"prompt_tokens": "5", "completion_tokens": 2}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ("much", None),
        (None, None),
    ],
)
async def test_no_answer_fails_for_what_its_server_counts(server: Server, said: object, usage: Usage | None) -> None:
    assert await hear(server, says("In 1887."), END, {"choices": [], "usage": said}) == ("In 1887.", usage)


async def test_a_total_that_is_repeated_is_not_added_up(server: Server) -> None:
    counts = {"prompt_tokens": 5, "completion_tokens": 2}
    _, usage = await hear(server, {**says("In "), "usage": counts}, {**says("1887."), "usage": counts}, END)
    assert usage == Usage(5, 2)


async def test_a_text_in_parts_is_understood(server: Server) -> None:
    parts = [{"type": "text", "text": "In "}, {"type": "image"}, {"type": "text", "text": "1887."}]
    assert await hear(server, says(parts), END) == ("In 1887.", None)


async def test_the_first_choice_is_the_answer(server: Server) -> None:
    text, _ = await hear(server, says("No.", index=1), says("In 1887."), END)
    assert text == "In 1887."


@pytest.mark.parametrize("content", [{"text": "In 1887."}, 1887, [{"text": "In 1887."}]])
async def test_a_text_that_is_none_is_a_bad_answer(server: Server, content: object) -> None:
    with pytest.raises(Transient, match="bad answer"):
        await hear(server, says(content), END)


async def test_a_refusal_is_the_providers_judgement(server: Server) -> None:
    refusal = {"choices": [{"index": 0, "delta": {"refusal": "I cannot help with that."}}]}
    with pytest.raises(Permanent, match="declines"):
        await hear(server, refusal, END)


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        (429, Transient, "provider.unavailable"),
        ("401", Misconfigured, "provider.misconfigured"),
        ("overloaded", Transient, "provider.bad_answer"),
    ],
)
async def test_trouble_in_the_middle_of_a_stream_keeps_its_kind(
    server: Server, code: object, kind: type[Failure], name: str
) -> None:
    with pytest.raises(Failure) as caught:
        await hear(server, {"error": {"message": "no", "code": code}})
    assert (type(caught.value), caught.value.code) == (kind, name)


def numbered(*places: object) -> list[dict[str, object]]:
    vectors = [{"index": place, "embedding": [float(at + 1)] + [0.0] * 1535} for at, place in enumerate(places)]
    return [{name: value for name, value in item.items() if value is not None} for item in vectors]


async def embed(server: Server, vectors: object) -> Any:
    server.vectors = vectors
    model = open_embeddings(server.settings)
    try:
        return await model.embed_texts(["a", "b", "c"])
    finally:
        await model.close()


async def test_vectors_belong_to_the_texts_whose_places_they_name(server: Server) -> None:
    shuffled = numbered(2, 0, 1)
    shuffled[1]["embedding"] = [0.0, 1.0] + [0.0] * 1534
    vectors = await embed(server, shuffled)
    assert np.argmax(vectors, axis=1).tolist() == [1, 0, 0]
    assert len(await embed(server, numbered(None, None, None))) == 3


@pytest.mark.parametrize(
    "vectors",
    [
        numbered(0, 0, 0),
        numbered(0, 1, 3),
        numbered(0, None, 1),
        numbered(0, "1", 2),
        [{"embedding": "!!"}] * 3,
        [{"embedding": ""}] * 3,
        [{"embedding": []}] * 3,
        [{"embedding": ["1"] * 1536}] * 3,
    ],
    ids=["same", "beyond", "some", "words", "no base64", "empty", "no numbers", "strings"],
)
async def test_vectors_of_which_nobody_knows_the_texts_are_a_bad_answer(server: Server, vectors: object) -> None:
    with pytest.raises(Transient, match="bad answer"):
        await embed(server, vectors)

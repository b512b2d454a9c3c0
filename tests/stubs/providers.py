"""Stub providers over real HTTP: one speaks OpenAI's protocol, the other Gemini's.

In tests: the fixtures `openai_stub` and `gemini_stub`. For benchmarks, as a process of its own:
`python -m tests.stubs.providers openai --port 9999 --delay 0.2`; it prints its URL. `GET /_seen` gives its counts as
JSON, `POST /_usual` takes a Behaviour's fields, `POST /_forget` begins to count anew.
"""

import argparse
import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.stubs.behaviour import Behaviour, Script
from tests.stubs.http import HttpStub, Reply, Request
from tests.stubs.vectors import vector_of

OWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


class ProviderStub:
    """What both have in common: faults, counts, vectors. `embeddings` and `chat` are set apart."""

    api_key = "a-good-key"

    def __init__(self, *, dimension: int, port: int = 0) -> None:
        self.dimension = dimension
        self.embeddings = Script()
        self.chat = Script()
        self._server = HttpStub(self._handle, port)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def connections(self) -> int:
        """That are open now."""
        return self._server.connections

    def reset(self) -> None:
        self.embeddings.reset()
        self.chat.reset()

    def close(self) -> None:
        self._server.close()

    async def _handle(self, request: Request, reply: Reply) -> None:
        if request.path.startswith("/_"):
            await self._control(request, reply)
            return
        script = self._script(request)
        with script.call() as behaviour:
            await asyncio.sleep(behaviour.delay + behaviour.jitter * script.chance.random())
            if behaviour.hold is not None:
                await asyncio.to_thread(behaviour.hold.wait)
            if self._key(request) != self.api_key:
                await reply.json(401, {"error": {"message": "wrong key", "code": 401, "status": "UNAUTHENTICATED"}})
            elif script.chance.random() < behaviour.error_rate:
                await reply.json(500, {"error": {"message": "by chance", "code": 500, "status": "STUB"}})
            elif not await _trouble(behaviour, reply):
                await self._answer(request, reply, script, behaviour)

    async def _control(self, request: Request, reply: Reply) -> None:
        if request.path == "/_forget":
            self.embeddings.forget()
            self.chat.forget()
        elif request.method == "POST":
            said = request.json()
            self.embeddings.usual = Behaviour(**said.get("embeddings", {}))
            self.chat.usual = Behaviour(**said.get("chat", {}))
        seen = {name: asdict(script.seen) for name, script in (("embeddings", self.embeddings), ("chat", self.chat))}
        for one in seen.values():
            one["texts"] = len(one["texts"])
            one["prompts"] = len(one["prompts"])
        await reply.json(200, seen)

    def _script(self, request: Request) -> Script:
        return self.embeddings if "mbed" in request.path else self.chat

    def _vectors(
        self, texts: Sequence[str], script: Script, behaviour: Behaviour, asked: int | None
    ) -> list[NDArray[np.float32]]:
        script.seen.texts.extend(texts)
        script.seen.texts_per_call.append(len(texts))
        dimension = 7 if behaviour.fault == "wrong_dimension" else asked or self.dimension
        vectors = [vector_of(text, dimension) for text in texts]
        if behaviour.fault == "nan":
            vectors[-1] = np.full(dimension, np.nan, np.float32)
        return vectors[:-1] if behaviour.fault == "wrong_count" else vectors

    def _key(self, request: Request) -> str:
        raise NotImplementedError

    async def _answer(self, request: Request, reply: Reply, script: Script, behaviour: Behaviour) -> None:
        raise NotImplementedError


class OpenAIStub(ProviderStub):
    """`POST /v1/embeddings` and `POST /v1/chat/completions`; use `base_url`."""

    def __init__(self, *, dimension: int = 1536, port: int = 0) -> None:
        super().__init__(dimension=dimension, port=port)

    @property
    def base_url(self) -> str:
        return self.url + "/v1"

    def _key(self, request: Request) -> str:
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    async def _answer(self, request: Request, reply: Reply, script: Script, behaviour: Behaviour) -> None:
        asked = request.json()
        if request.path.endswith("/embeddings"):
            texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
            vectors = self._vectors(
                texts, script, behaviour, asked.get("dimensions") or OWN_DIMENSIONS.get(asked["model"])
            )
            packed = behaviour.packs and asked.get("encoding_format") == "base64"
            data = [
                {"object": "embedding", "index": place, "embedding": _pack(vector) if packed else vector.tolist()}
                for place, vector in enumerate(vectors)
            ]
            await _whole(
                reply,
                {
                    "object": "list",
                    "data": data,
                    "model": asked["model"],
                    "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)},
                },
                behaviour,
            )
            return
        script.seen.prompts.append(json.dumps(asked["messages"], ensure_ascii=False))
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        frames = [_openai_frame({"role": "assistant", "content": ""})]
        frames += [_openai_frame({"content": piece}) for piece in _pieces(behaviour)]
        if behaviour.fault != "no_end":
            frames += [_openai_frame({}, "stop"), {**_openai_frame({}), "choices": [], "usage": usage}]
        await _stream(reply, [*map(json.dumps, frames), "[DONE]"], behaviour)


class GeminiStub(ProviderStub):
    """`…:batchEmbedContents`, `…:embedContent` and `…:streamGenerateContent` below `url`."""

    def __init__(self, *, dimension: int = 3072, port: int = 0) -> None:
        super().__init__(dimension=dimension, port=port)

    @property
    def base_url(self) -> str:
        return self.url

    def _key(self, request: Request) -> str:
        return request.headers.get("x-goog-api-key", "")

    async def _answer(self, request: Request, reply: Reply, script: Script, behaviour: Behaviour) -> None:
        asked = request.json()
        if "mbed" in request.path:
            asked_for = asked.get("requests", [asked])
            texts = ["".join(part["text"] for part in one["content"]["parts"]) for one in asked_for]
            dimension = asked_for[0].get("outputDimensionality")
            vectors = self._vectors(texts, script, behaviour, dimension)
            values = [{"values": vector.tolist()} for vector in vectors]
            await _whole(reply, {"embeddings": values} if "requests" in asked else {"embedding": values[0]}, behaviour)
            return
        script.seen.prompts.append(json.dumps(asked, ensure_ascii=False))
        pieces = _pieces(behaviour)
        frames = [_gemini_frame(piece, last=place == len(pieces) - 1) for place, piece in enumerate(pieces)]
        if behaviour.fault == "no_end":
            frames = [_gemini_frame(piece, last=False) for piece in pieces]
        await _stream(reply, list(map(json.dumps, frames)), behaviour)


async def _trouble(behaviour: Behaviour, reply: Reply) -> bool:
    """Answers with the trouble that is the same for every call; False if there is none."""
    if behaviour.fault == "hang":
        await asyncio.sleep(3600)
    if behaviour.status is not None:
        headers = {"retry-after": behaviour.retry_after} if behaviour.retry_after else {}
        error = {"error": {"message": behaviour.says, "code": behaviour.status, "status": "STUB"}}
        await reply.json(behaviour.status, error, headers)
        return True
    if behaviour.fault == "html":
        await reply.send(200, HTML, kind="text/html")
        return True
    if behaviour.fault == "not_json":
        await reply.send(200, b'{"data": [', kind="application/json")
        return True
    return False


async def _whole(reply: Reply, body: object, behaviour: Behaviour) -> None:
    encoded = json.dumps(body).encode()
    if behaviour.fault == "cut":
        await reply.cut(200, encoded, kind="application/json")
    elif behaviour.fault == "drip":
        await reply.begin("application/json")
        async for byte in _drip(encoded):
            await reply.chunk(byte)
    else:
        await reply.send(200, encoded, kind="application/json")


async def _stream(reply: Reply, frames: Sequence[str], behaviour: Behaviour) -> None:
    await reply.begin("text/event-stream")
    for place, frame in enumerate(frames):
        if behaviour.fault == "cut" and place == len(frames) // 2:
            reply.broken = True
            return
        if behaviour.fault == "drip":
            async for byte in _drip(f"data: {frame}\n\n".encode()):
                await reply.chunk(byte)
        await reply.chunk(f"data: {frame}\n\n".encode())
        await asyncio.sleep(behaviour.between)
    await reply.end()


async def _drip(data: bytes) -> AsyncIterator[bytes]:
    for place in range(len(data)):
        yield data[place : place + 1]
        await asyncio.sleep(0.05)


def _pieces(behaviour: Behaviour) -> list[str]:
    text = "" if behaviour.fault == "empty" else behaviour.answer
    size = max(1, -(-len(text) // behaviour.pieces))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def _pack(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _openai_frame(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [choice]}


def _gemini_frame(piece: str, *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [{"text": piece}]}}
    frame: dict[str, Any] = {"candidates": [candidate], "modelVersion": "stub"}
    if last:
        candidate["finishReason"] = "STOP"
        frame["usageMetadata"] = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description="A stub provider, until SIGTERM or Ctrl-C.")
    parser.add_argument("protocol", choices=["openai", "gemini"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--dimension", type=int, default=1536, help="of vectors of models that it does not know")
    asked = parser.parse_args()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    stub = (OpenAIStub if asked.protocol == "openai" else GeminiStub)(port=asked.port, dimension=asked.dimension)
    stub.embeddings.usual = stub.chat.usual = Behaviour(delay=asked.delay)
    print(stub.base_url, flush=True)  # noqa: T201  # whoever starts it reads it
    signal.sigwait(ends)
    stub.close()


if __name__ == "__main__":
    main()

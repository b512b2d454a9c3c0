"""Fixtures for the stub providers: one of each for the whole run, forgetful between tests."""

from collections.abc import Iterator

import pytest

from tests.stubs.providers import GeminiStub, OpenAIStub


@pytest.fixture(scope="session")
def _openai_stub() -> Iterator[OpenAIStub]:
    stub = OpenAIStub()
    yield stub
    stub.close()


@pytest.fixture(scope="session")
def _gemini_stub() -> Iterator[GeminiStub]:
    stub = GeminiStub()
    yield stub
    stub.close()


@pytest.fixture
def openai_stub(_openai_stub: OpenAIStub) -> OpenAIStub:
    """An OpenAI-compatible provider; say how it behaves with `.embeddings.then(…)`, `.chat.usual = …`."""
    _openai_stub.reset()
    return _openai_stub


@pytest.fixture
def gemini_stub(_gemini_stub: GeminiStub) -> GeminiStub:
    """A Gemini-compatible provider; say how it behaves with `.embeddings.then(…)`, `.chat.usual = …`."""
    _gemini_stub.reset()
    return _gemini_stub

"""When a remote model is opened, and who is told that it cannot be."""

import asyncio

import pytest
from chassis.failures import Misconfigured
from models.chat import open_chat
from models.embeddings import open_embeddings
from models.failures import no_key
from models.opening import OnFirstUse

from libs.models.tests.providers import Remote


class Opened:
    """Keeps nothing."""

    async def close(self) -> None: ...


class Door:
    """Something that opens after some failures, and counts how often it was tried."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tries = 0

    def __call__(self) -> Opened:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        return Opened()


async def test_what_was_loaded_is_not_opened_again_by_the_first_call() -> None:
    door = Door()
    model = OnFirstUse(door)
    await model.load()
    assert door.tries == 1
    first, second = await asyncio.gather(model.get(), model.get())
    assert first is second
    assert door.tries == 1


@pytest.mark.parametrize("trouble", [no_key("DOCQA_OPENAI_API_KEY"), RuntimeError("half installed")])
async def test_loading_raises_nothing_and_whoever_needs_the_model_is_told(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(trouble, Misconfigured("models.misconfigured", "It still is not."))
    model = OnFirstUse(door)
    await model.load()
    assert str(trouble) in caplog.text
    with pytest.raises(Misconfigured, match="still"):
        await model.get()
    assert isinstance(await model.get(), Opened)


async def test_loading_contacts_nobody(remote: Remote) -> None:
    for model in (open_chat(remote.settings()), open_embeddings(remote.settings())):
        await model.load()
    assert remote.stub.chat.seen.calls == remote.stub.embeddings.seen.calls == 0

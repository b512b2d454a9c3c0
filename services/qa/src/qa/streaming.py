"""An answer as server-sent events: what was said so far, as soon as it is said."""

from collections.abc import AsyncIterator, Callable

from chassis.problems import ProblemError
from chassis.streaming import event
from contracts.questions import Answer, AskSession, AskSources, AskToken
from pydantic import BaseModel

from qa.running import RunningAnswer

# Proxies close connections on which nothing moves.
HEARTBEAT_SECONDS = 15.0

_HEARTBEAT = b": still here\n\n"
_NAMES: dict[type[BaseModel], str] = {AskSources: "sources", AskToken: "token", Answer: "done"}

Describe = Callable[[Exception], ProblemError]
"""The problem that an error is."""


async def as_events(
    answer: RunningAnswer, describe: Describe, request_id: str, *, heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncIterator[bytes]:
    """The events of an answer. It is written on, and kept, even if nobody reads them to the end."""
    yield event("session", AskSession(session_id=answer.chat, message_id=answer.id))
    try:
        async for happened in answer.events(heartbeat):
            yield b"".join(event(_NAMES[type(each)], each) for each in happened) or _HEARTBEAT
    except Exception as error:
        yield event("error", describe(error).problem(request_id))

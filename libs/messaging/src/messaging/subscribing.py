"""What a service says about a topic: which facts it hears, and what it notes of each."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.facts import Fact
from contracts.topics import Topic
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.fences import Fence

Handler = Callable[[AsyncSession, Fence, Any], Awaitable[None]]
"""Notes a fact: in one transaction, in which the fence of the fact's subject is locked already.

The third argument is an instance of the class that it is registered for. It may be called again with the same fact,
now or in a week, and then changes nothing. It never commits, and it never calls anything but the database.
"""


@dataclass(frozen=True)
class Together:
    """Notes several facts at once, those of one turn (see `Subscription`), in the order in which they were said.

    Otherwise like a `Handler`: their fences are locked, and `fences.lock` gives them.
    """

    note: Callable[[AsyncSession, Sequence[Any]], Awaitable[None]]


def _never(_fact: Fact) -> bool:
    return False


def _subject(fact: Fact) -> str:
    return fact.subject


@dataclass(frozen=True)
class Subscription:
    """The facts of one topic that a service hears. All others pass it by, at no cost to the database.

    So do those of which `passes_by` says so, for what is in them. Nobody waits for what is `unhurried`: it is noted
    milliseconds later, with what has come until then. What is heard together is noted in the order of
    `turn`, that of one subject in the order in which it was said: what a handler locks beyond its fence must lie in
    that order, too.
    """

    topic: Topic
    handlers: Mapping[type[Fact], Handler | Together]
    unhurried: Collection[type[Fact]] = ()
    passes_by: Callable[[Fact], bool] = _never
    turn: Callable[[Fact], str] = _subject

    def __post_init__(self) -> None:
        strangers = [fact.type for fact in self.handlers if fact.topic != self.topic]
        if strangers:
            raise ValueError(f"{', '.join(strangers)}: not said on the topic {self.topic.name}")


def group_of(service: str, topic: str) -> str:
    """The consumer group in which the replicas of a service share a topic. What watches its lag knows it, too."""
    return f"{service}.{topic}"

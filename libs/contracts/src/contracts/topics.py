"""The topics, as they are created: names and shapes are part of the contract, not settings."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Topic:
    """A topic; `retention` is None where compaction keeps the newest record of each key for ever."""

    name: str
    partitions: int
    key: str
    """The name of the id that its facts are keyed by, as logs and traces tell it."""
    retention: timedelta | None = None
    awaited: bool = False
    """Whether people wait for what its facts bring about, step by step."""


DOCUMENTS = Topic("documents", partitions=24, key="document_id", retention=timedelta(days=7), awaited=True)
USERS = Topic("users", partitions=3, key="user_id", retention=timedelta(days=7))
INDEXES = Topic("indexes", partitions=1, key="index_id")

TOPICS = (DOCUMENTS, USERS, INDEXES)

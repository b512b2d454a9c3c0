"""What was seen of the broker's logs: a log that has become shorter is another log."""

from threading import Lock

Place = tuple[str, int]
"""A topic and a partition."""


class BrokerMemory:
    """The highest offsets: of records that were heard, and of those that were sent.

    They are kept apart, for a record may be heard by others' hands before the sender of an earlier one is told of it.
    Any thread may tell what it has heard.
    """

    def __init__(self) -> None:
        self._heard: dict[Place, int] = {}
        self._given: dict[Place, int] = {}
        self._lock = Lock()

    def heard(self, topic: str, partition: int, offset: int) -> None:
        place = (topic, partition)
        with self._lock:
            self._heard[place] = max(offset, self._heard.get(place, -1))

    def given(self, topic: str, partition: int, offset: int) -> None:
        place = (topic, partition)
        self._given[place] = max(offset, self._given.get(place, -1))

    def contradicts(self, topic: str, partition: int, offset: int) -> bool:
        """Whether a new record cannot have got this offset, in the log that is remembered."""
        return offset <= self._given.get((topic, partition), -1)

    def ends(self, topic: str) -> dict[int, int]:
        """The least that each partition of the topic must hold: its end offset cannot be below."""
        ends: dict[int, int] = {}
        with self._lock:
            for memory in (self._heard, self._given):
                for (name, partition), offset in memory.items():
                    if name == topic:
                        ends[partition] = max(offset + 1, ends.get(partition, 0))
        return ends

    def forget(self, topic: str) -> None:
        """The topic's logs are new."""
        with self._lock:
            for memory in (self._heard, self._given):
                for place in [place for place in memory if place[0] == topic]:
                    del memory[place]

"""How much one document may cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the process that reads one document may use, and how much it may find.

    Pages, characters, processor time and memory are the document's own doing: passing one of them is its fault.
    Wall time is not, for a busy machine can use it up: passing it is tried again.
    """

    max_pages: int
    max_characters: int
    cpu_seconds: int
    wall_seconds: int
    memory_bytes: int

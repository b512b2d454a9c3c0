"""The five kinds of failure. An adapter says which one it met; nobody else guesses."""

LONGEST_RETRY_AFTER = 3600.0
"""Seconds. Whoever wants to be left alone for longer is asked again after an hour."""


class Failure(Exception):
    """Work that did not succeed.

    `code` is stable and stands in docs/errors.md; `detail` is for people and carries neither secrets nor content.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Transient(Failure):
    """May pass: a time limit, 408, 425, 429, 5xx, a store that is away. Tried again with back-off.

    `retry_after` is what the other side asked for, in seconds.
    """

    def __init__(self, code: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after


class Permanent(Failure):
    """The subject's own fault; trying again cannot help."""


class Misconfigured(Failure):
    """Ours to put right: a wrong key, a missing bucket, a full store. The work waits, and no try is burned."""


class Poison(Failure):
    """A record that cannot be read, whatever its bytes or headers."""


class CrashLoop(Failure):
    """Work that was taken again and again from a lease that ran out."""

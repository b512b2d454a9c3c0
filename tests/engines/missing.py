"""Why an engine cannot be had here."""


class EngineMissing(Exception):
    """The engine cannot be had; the message says why, for the person who wanted it."""

    def __init__(self, engine: str, reason: str) -> None:
        super().__init__(f"{engine}: {reason}")
        self.engine = engine
        self.reason = reason

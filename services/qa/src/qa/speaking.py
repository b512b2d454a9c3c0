"""From the pieces that a chat model says to the pieces that a reader is shown."""

import re

from models.chat import Usage

from qa.citing import CitationChecker
from qa.prompting import NOT_IN_DOCUMENTS


class Speech:
    """An answer as it grows: citations checked; held back while it may still turn out to be a refusal."""

    def __init__(self, sources: int) -> None:
        self._checker = CitationChecker(sources)
        self._opening: str | None = ""
        self._shown: list[str] = []
        self.usage: Usage | None = None

    def say(self, piece: str) -> str:
        """The part that can be shown now; possibly nothing."""
        if self._opening is None:
            return self._show(self._checker.feed(piece))
        opening = self._opening + piece
        if _may_be_refusal(opening):
            self._opening = opening
            return ""
        self._opening = None
        return self._show(self._checker.feed(opening))

    def finish(self) -> str:
        """The rest, once the model has said all or was stopped."""
        opening, self._opening = self._opening, None
        if opening is None:
            return self._show(self._checker.finish())
        text = self._checker.feed(opening) + self._checker.finish()
        return "" if _is_refusal(opening) and not self.cited else self._show(text)

    @property
    def text(self) -> str:
        return "".join(self._shown)

    @property
    def cited(self) -> set[int]:
        return self._checker.cited

    def _show(self, text: str) -> str:
        if text:
            self._shown.append(text)
        return text


def _may_be_refusal(opening: str) -> bool:
    return NOT_IN_DOCUMENTS.startswith(_undressed(opening)) or _is_refusal(opening)


def _is_refusal(text: str) -> bool:
    """Whether it begins as one. What some models then explain is none of an answer's, unless it cites something."""
    return re.match(rf"{NOT_IN_DOCUMENTS}(?!\w)", _undressed(text)) is not None


def _undressed(text: str) -> str:
    """Without what a model may dress a single word in."""
    return text.strip().strip("*`\"'. ")

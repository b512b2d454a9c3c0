"""Citations: `[1]`, `[2, 3]`, `[1-3]` in an answer, checked against what was retrieved. Some models write `【1】`.

An answer arrives in pieces and is passed on in pieces, so that a citation may be cut anywhere: what could still become
one is held back until it is clear.
"""

import re

_NUMBER = r"\s{0,4}\d{1,4}\s{0,4}"
_MORE = r"[-–,;]"
_BEGIN, _END = r"[\[【]", r"[\]】]"
_MOST = 64
"""Numbers in one bracket. With more, or with more white space, it is text, whole and in pieces alike."""

_CITATION = re.compile(rf"{_BEGIN}{_NUMBER}(?:{_MORE}{_NUMBER}){{0,{_MOST - 1}}}{_END}")
# What may still become a citation: white space (which goes with a removed one), then the beginning of a bracket.
_UNDECIDED = re.compile(rf"[ \t]*(?:{_BEGIN}(?:{_NUMBER}{_MORE}){{0,{_MOST - 1}}}\s{{0,4}}(?:\d{{1,4}}\s{{0,4}})?)?\Z")
_SPACED_CITATION = re.compile(r"(?P<space>[ \t]*)(?P<citation>" + _CITATION.pattern + ")")
# A bracket that has begun, and may still become a citation if what stands in it is taken away.
_OPEN = re.compile(r"[\[【][\d\s,;–-]*\Z")
_CLOSED = re.compile(r"[^\[【\d\s,;–-][\d\s,;–-]*\Z")
_NUMBER_OR_RANGE = re.compile(r"(\d{1,4})(?:\s*[-–]\s*(\d{1,4}))?")


class CitationChecker:
    """Lets an answer through, piece by piece, without the citations that name no source."""

    def __init__(self, sources: int) -> None:
        self._sources = sources
        self._held = ""
        self._open = False
        self.cited: set[int] = set()

    def feed(self, piece: str) -> str:
        """The part of the answer that is now certain; possibly nothing."""
        pending = self._held + piece
        undecided = _UNDECIDED.search(pending)
        cut = undecided.start() if undecided else len(pending)
        self._held = pending[cut:]
        return self._checked(pending[:cut])

    def finish(self) -> str:
        """What was held back until the end."""
        rest, self._held = self._held, ""
        return self._checked(rest)

    def _checked(self, text: str) -> str:
        passed, at = list[str](), 0
        for match in _SPACED_CITATION.finditer(text):
            passed.append(self._passed(text[at : match.start()]))
            passed.append(self._passed(self._known(match)))
            at = match.end()
        return "".join([*passed, self._passed(text[at:])])

    def _passed(self, text: str) -> str:
        """The same text, once it is noted whether it leaves a bracket open."""
        if _OPEN.search(text):
            self._open = True
        elif _CLOSED.search(text):
            self._open = False
        return text

    def _known(self, match: re.Match[str]) -> str:
        """What remains of a citation. Within a bracket that is something: what is around it would make another one."""
        numbers = cited_numbers(match["citation"])
        known = [number for number in numbers if 1 <= number <= self._sources]
        if not known:
            return f"{match['space']}({match['citation'][1:-1]})" if self._open else ""
        self.cited.update(known)
        if len(known) == len(numbers):
            return f"{match['space']}[{match['citation'][1:-1]}]"
        return match["space"] + "".join(f"[{number}]" for number in known)


def cited_numbers(citation: str) -> list[int]:
    """The numbers in one bracket, ranges written out (a range too wide to be meant counts as its two ends)."""
    numbers: list[int] = []
    for first, last in _NUMBER_OR_RANGE.findall(citation):
        start, end = int(first), int(last or first)
        numbers.extend(range(start, end + 1) if start <= end <= start + 50 else (start, end))
    return list(dict.fromkeys(numbers))

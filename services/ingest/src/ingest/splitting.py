"""From a text to the pieces that are embedded, found again and cited."""

from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

from langchain_text_splitters import RecursiveCharacterTextSplitter

from ingest.chunking import Span

_SEPARATORS = (
    r"\n\s*\n",  # paragraphs
    r"[.!?。！？](?:(?<=[。！？])|\s+)",  # sentences; a PDF ends lines in the middle of them
    r"\n",
    r"\s+",
    "",
)
_BLOCK = 65_536
"""A file of 50 MB is cut in blocks first: pieces of the whole of it at once would take gigabytes."""


class Cutter(RecursiveCharacterTextSplitter):
    """LangChain's, but for joining what it has cut too small: its own way copies the rest of a list for each piece.

    That is quadratic, and nearly all of its time where a text without breaks is cut into characters. Here there is no
    overlap, and the pieces have kept their separators.
    """

    def _merge_splits(self, splits: Iterable[str], separator: str) -> list[str]:
        del separator
        joined: list[str] = []
        parts: list[str] = []
        size = 0
        for split in splits:
            if size + len(split) > self._chunk_size:
                joined.append("".join(parts))
                parts, size = [], 0
            parts.append(split)
            size += len(split)
        return [*joined, "".join(parts)]


class Splitter:
    """Cuts texts into pieces of at most `size` code points, each repeating up to `overlap` of what comes before it.

    LangChain finds a chunk's position by searching for its text, which goes astray where text repeats. Here it cuts
    without overlap and without stripping, so that the pieces laid end to end are the text, and positions are sums.
    """

    def __init__(self, size: int, overlap: int) -> None:
        self._overlap = overlap
        self._cutter = Cutter(
            chunk_size=size - overlap,
            chunk_overlap=0,
            separators=list(_SEPARATORS),
            is_separator_regex=True,
            keep_separator="end",
            strip_whitespace=False,
        )

    def spans(self, text: str) -> list[Span]:
        """Where the pieces of a text lie, in order. No piece is blank or begins or ends with white space."""
        parts = [part for part in (_strip(text, part) for part in self._parts(text)) if part is not None]
        starts = [0, *(start for start, _ in parts)]
        reaching = [
            (self._reach_back(text, start, floor), end) for floor, (start, end) in zip(starts, parts, strict=False)
        ]
        return _without_contained(reaching)

    def _parts(self, text: str) -> Iterator[Span]:
        for begin, end in _blocks(text):
            pieces = self._cutter.split_text(text[begin:end])
            yield from pairwise(accumulate(map(len, pieces), initial=begin))

    def _reach_back(self, text: str, start: int, floor: int) -> int:
        """Where a piece begins that repeats the end of the one before it, from a word's start on."""
        earliest = max(floor, start - self._overlap)
        if earliest == 0 or text[earliest - 1].isspace():
            return start - len(text[earliest:start].lstrip())
        words = text[earliest:start].split(maxsplit=1)
        return start if len(words) < 2 else text.index(words[1], earliest + len(words[0]), start)


def _strip(text: str, part: Span) -> Span | None:
    start, end = part
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    return (start, end) if start < end else None


def _without_contained(spans: list[Span]) -> list[Span]:
    """A short piece that the next one repeats whole, such as a heading, is no piece of its own."""
    kept = [span for span, following in pairwise(spans) if following[0] > span[0]]
    return [*kept, *spans[-1:]]


def _blocks(text: str) -> Iterator[Span]:
    begin = 0
    while len(text) - begin > _BLOCK:
        end = _last_break(text, begin + _BLOCK * 3 // 4, begin + _BLOCK)
        yield begin, end
        begin = end
    yield begin, len(text)


def _last_break(text: str, earliest: int, latest: int) -> int:
    for separator in ("\n\n", "\n", " "):
        found = text.rfind(separator, earliest, latest)
        if found >= 0:
            return found + len(separator)
    return latest

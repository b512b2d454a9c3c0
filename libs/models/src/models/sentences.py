"""Text into sentences, and sentences into the words that count."""

import re

_END = re.compile(r"(?<=[.!?…。!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[^\sa-z])|\n\s*\n|\n(?=\s*[-*•#|\d])")
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nos|Inc|Co|Corp|Ltd|vs|etc|e\.g|i\.e|approx|Fig|Sec|Vol|Art|Nr|Abs|Abb|Ziff|Kap|Bd"
    r"|ca|bzw|vgl|z\. ?B|d\. ?h|[A-Z])\.$"
)
_DAY = re.compile(r"\b\d{1,2}\.$")
_MONTH = re.compile(r"Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?", re.UNICODE)
_STOP = frozenset(
    """a about an and any are as at be been but by can could did do does for from had has have how i if in into is it
    its many may me more most much my no not of on or our s shall should so some such than that the their them then
    there these they this those to was we were what when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905  # a list of 90 words reads better as a text
)
_SUFFIXES = ("ations", "ation", "ings", "ing", "ies", "ied", "edly", "ed", "ly", "es", "s", "y")


def sentences(text: str) -> list[str]:
    """The sentences of a passage, white space joined; the first and last may be fragments, as passages are."""
    found: list[str] = []
    start = 0
    for end in _END.finditer(text):
        piece = text[start : end.end()].strip()
        goes_on = _ABBREVIATION.search(piece) or (_DAY.search(piece) and _MONTH.match(text, end.end()))
        if not goes_on:
            found.append(piece)
            start = end.end()
    found.append(text[start:].strip())
    return [" ".join(piece.split()) for piece in found if piece]


def words(text: str) -> set[str]:
    """The words that carry meaning, without case and common English endings."""
    return {_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP}


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word.removesuffix(suffix)
    return word

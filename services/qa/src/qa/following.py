"""Follow-up questions: which ones cannot be understood without the one before."""

import re

# Words that point at something said before; a question with one of them leans on its predecessor.
_REFERRING_WORDS = """
it its itself he him his she her hers they them their theirs this that these those there then same such former latter
one ones both either neither else instead
"""
_REFERRING = frozenset(_REFERRING_WORDS.split())
_CONTINUING = re.compile(r"\s*(and|or|but|so|also|what about|how about|why not|und|et|y)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
# Short words are rarely what a question is about, in any language that has them.
_CONTENT_LENGTH = 4
_ASKING_WORDS = "what which when where whom whose does much many long please tell show explain about"
_ASKING = frozenset(_ASKING_WORDS.split())


def leans_on_previous(question: str) -> bool:
    """Whether the question refers back: only then does what fits its predecessor support an answer to it."""
    words = [word.lower() for word in _WORD.findall(question)]
    if _CONTINUING.match(question) or not _REFERRING.isdisjoint(words):
        return True
    return sum(_is_content(word) for word in words) <= 1


def joined(previous: str, question: str) -> str:
    """Both questions as one query."""
    return f"{previous}\n{question}"


def _is_content(word: str) -> bool:
    return (len(word) >= _CONTENT_LENGTH and word not in _ASKING) or any(character.isdigit() for character in word)

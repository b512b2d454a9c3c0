"""Words that hold a question together and say nothing of what it asks for, in other languages than English.

PostgreSQL's configuration leaves out the English ones. Among English passages the others are rare words, and any
passage in French would support an answer to every question in French.
"""

import re

_ENGLISH_WORDS = """
a an and are at by do does did for from had has have how in is it its of on or that the there this to was were what
when where which who why will with
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHERS = (
    """
    aber als am an auch auf aus bei bis da das dass dem den der des die durch ein eine einem einen einer eines
    er es für gibt hat haben im in ist kann man mit nach nicht noch nur oder sein sich sie sind so über um und
    uns unter vom von vor wann war waren warum was welche welchem welchen welcher welches wem wen wenn wer
    werden wie wir wird wo wurde wurden zu zum zur
    """,
    """
    à a ai au aux avec ce cela ces cet cette comment combien d dans de des du elle elles en est et être fait il
    ils j je l la le les leur leurs lui mais n ne nous on ont ou où par pas pour pourquoi qu quand que quel
    quelle quelles quels qui s sa se ses son sont sur un une vous y
    """,
    """
    a al como cómo con cuál cuáles cuando cuándo cuántas cuánto cuántos de del desde donde dónde e el ella en
    entre es está están fue ha hay la las le lo los más no o para pero por porque qué que quién quiénes se ser
    si sin sobre son su sus un una y
    """,
    """
    a ai al alla alle anche c che chi come con cosa da dal dalla degli dei del della delle di dove e è gli ha
    hanno i il in l la le lo nei nel nella non o per perché più quale quali quando quanti quanto sono su sul
    sulla un una
    """,
    """
    aan als bij dat de deze die dit door een en er heeft het hoe hoeveel in is kan met naar niet of om onder ook
    op over te tot uit van voor waar waarom wanneer was wat welke werd wie wordt zijn
    """,
    """
    a às ao aos as com como da das de do dos e é em entre está foi há mais na não nas no nos o onde os ou para
    pela pelo por porque qual quais quando quanto quantos que quem se são sobre sua um uma
    """,
    """
    a albo ale co czego czy dla do gdzie i ile jak jaka jaki jakie jest kiedy kim kogo która które który lub ma
    na nad nie o od oraz po pod przez przy są się ten to w we z za ze
    """,
)
_LANGUAGES = tuple(frozenset(words.split()) for words in _OTHERS)
_WORD = re.compile(r"[^\W\d_]+")


def without_function_words(question: str) -> str:
    """The question; without the words of another language that it has more of, and more than of English."""
    words = [word.lower() for word in _WORD.findall(question)]
    language = max(_LANGUAGES, key=lambda each: _held(words, each))
    if _held(words, language) <= max(1, _held(words, _ENGLISH)):
        return question
    return _WORD.sub(lambda word: " " if word[0].lower() in language else word[0], question)


def _held(words: list[str], language: frozenset[str]) -> int:
    return sum(word in language for word in words)

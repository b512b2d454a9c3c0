"""The full-text half of the search, and which of the question's words are rare among an owner's passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Float, Integer, Row, Text, Uuid, bindparam, text

from qa.evidence import RARE_AT_LEAST, RARE_SHARE, TextHit, Word, rare_words
from qa.passages import PassageId, Scope
from qa.statements import Statements
from qa.tables import OWNER_WORD, TEXT_SEARCH

# How many passages one search ranks at most; words are taken into it, the rarest first, until they would be more.
RANKED = 2_000
# Words of one question that are looked for; a question of 4,000 characters has hundreds.
WORDS = 40


@dataclass(frozen=True, slots=True)
class TextFindings:
    """The question's words, the number of passages that the owner has, and the passages that hold the words."""

    words: list[Word]
    passages: int
    hits: list[TextHit]


class FullText:
    """Full-text search over one owner's live passages."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def search(self, question: str, scope: Scope, limit: int) -> TextFindings:
        """The passages that hold rare words of the question, at most `limit`, by PostgreSQL's rank.

        Each with all the words of the question that it holds. Without its rare words no passage is evidence, so that
        none is looked for by the others.
        """
        words, passages = await self._count(question, scope.owner)
        chosen = _choose(rare_words(words, passages))
        hits = await self._find(words, chosen, scope, limit) if chosen else []
        return TextFindings(words=words, passages=passages, hits=hits)

    async def _count(self, question: str, owner: UUID) -> tuple[list[Word], int]:
        rows = await self._statements.rows(_WORDS, {**_ASKED, "question": question, "owner": str(owner)})
        words = [Word(row.stem, row.holders) for row in rows]
        return words, rows[0].passages if rows else 0

    async def _find(self, words: Sequence[Word], chosen: Sequence[Word], scope: Scope, limit: int) -> list[TextHit]:
        values = {
            "owner": scope.owner,
            "search": f"{_quoted(OWNER_WORD + str(scope.owner))} & ({_any_of(chosen)})",
            "ranked_by": _any_of(chosen),
            "stems": [word.stem for word in words],
            "excluded": sorted(scope.excluded),
            "asked": None if scope.documents is None else sorted(scope.documents),
            "ranked": RANKED,
            "limit": limit,
        }
        rows = await self._statements.rows(_PASSAGES, values)
        return [_hit(row) for row in rows]


def _hit(row: Row[Any]) -> TextHit:
    return TextHit(PassageId(row.document_id, row.version, row.ordinal), frozenset(row.found), row.rank)


def _choose(rare: Sequence[Word]) -> list[Word]:
    """The words to search by: the rarest ones, as many as keep the number of passages to rank bounded."""
    chosen: list[Word] = []
    passages = 0
    for word in sorted((word for word in rare if word.holders), key=lambda word: word.holders):
        passages += word.holders
        if chosen and passages > RANKED:
            break
        chosen.append(word)
    return chosen


def _any_of(words: Sequence[Word]) -> str:
    return " | ".join(_quoted(word.stem) for word in words)


def _quoted(stem: str) -> str:
    """A stem as PostgreSQL reads it in a `tsquery`, whatever characters it has."""
    escaped = stem.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


_ASKED = {
    "configuration": TEXT_SEARCH,
    "owner_word": OWNER_WORD,
    "most_words": WORDS,
    "share": RARE_SHARE,
    "at_least": RARE_AT_LEAST,
}

_WORDS = (
    text(r"""
    WITH owned AS MATERIALIZED (
        SELECT coalesce(sum(chunk_count), 0) AS passages FROM searchable_documents
        WHERE owner_id = CAST(:owner AS uuid)
    ), words AS (
        SELECT stem, '''' || replace(replace(stem, '\', '\\'), '''', '''''') || '''' AS quoted
        FROM unnest(tsvector_to_array(to_tsvector(CAST(:configuration AS regconfig), :question))) AS stem
        ORDER BY length(stem) DESC LIMIT :most_words
    )
    SELECT stem,
           (SELECT count(*) FROM (
               SELECT FROM passages
               WHERE search @@ CAST('''' || :owner_word || :owner || ''' & ' || quoted AS tsquery)
                 AND owner_id = CAST(:owner AS uuid)
               -- One more than a rare word may have: how common the others are does not matter.
               LIMIT greatest(:at_least, ceil(:share * owned.passages)) + 1) AS holders) AS holders,
           owned.passages
    FROM words, owned
    """)
    .bindparams(
        bindparam("configuration", type_=Text()),
        bindparam("question", type_=Text()),
        bindparam("owner_word", type_=Text()),
        bindparam("owner", type_=Text()),
        bindparam("most_words", type_=Integer()),
        bindparam("share", type_=Float()),
        bindparam("at_least", type_=Integer()),
    )
    .columns(stem=Text(), holders=BigInteger(), passages=BigInteger())
)

_PASSAGES = (
    text("""
    SELECT best.document_id, best.version, best.ordinal, best.rank,
           ARRAY(SELECT unnest(tsvector_to_array(best.search)) INTERSECT SELECT unnest(:stems)) AS found
    FROM (
        SELECT held.*, ts_rank(held.search, CAST(:ranked_by AS tsquery)) AS rank
        FROM (
            SELECT p.document_id, p.version, p.ordinal, p.search
            FROM passages p
            JOIN searchable_documents d ON d.document_id = p.document_id AND d.version = p.version
            WHERE p.search @@ CAST(:search AS tsquery)
              AND p.owner_id = :owner AND d.owner_id = :owner
              AND p.document_id <> ALL(:excluded)
              AND (:asked IS NULL OR p.document_id = ANY(:asked))
            LIMIT :ranked
        ) AS held
        ORDER BY rank DESC LIMIT :limit
    ) AS best
    """)
    .bindparams(
        bindparam("stems", type_=ARRAY(Text())),
        bindparam("ranked_by", type_=Text()),
        bindparam("search", type_=Text()),
        bindparam("owner", type_=Uuid()),
        bindparam("excluded", type_=ARRAY(Uuid())),
        bindparam("asked", type_=ARRAY(Uuid())),
        bindparam("ranked", type_=Integer()),
        bindparam("limit", type_=Integer()),
    )
    .columns(document_id=Uuid(), version=Integer(), ordinal=Integer(), rank=Float(), found=ARRAY(Text()))
)

"""The full-text half of the search, and which of the question's words are rare among an owner's passages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qa.evidence import RARE_AT_LEAST, RARE_SHARE, TextHit, Word, rare_words
from qa.function_words import without_function_words
from qa.passages import PassageId, Scope
from qa.spelling import as_searched, spellings
from qa.statements import Row, Statements
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
        asked = as_searched(without_function_words(question))
        rows = await self._statements.rows(_WORDS, asked, scope.owner)
        words = [Word(row["stem"], row["holders"]) for row in rows]
        passages = rows[0]["passages"] if rows else 0
        chosen = _choose(rare_words(words, passages))
        sought = {row["stem"]: row["sought"] for row in rows}
        hits = await self._find(sought, [word.stem for word in chosen], scope, limit) if chosen else []
        return TextFindings(words=words, passages=passages, hits=hits)

    async def _find(self, sought: Mapping[str, str], chosen: Sequence[str], scope: Scope, limit: int) -> list[TextHit]:
        """`sought` are all words of the question, each with what finds it; `chosen` those to search by."""
        by = " | ".join(sought[stem] for stem in chosen)
        rows = await self._statements.rows(
            _PASSAGES,
            scope.owner,
            f"'{OWNER_WORD}{scope.owner}' & ({by})",
            by,
            list(sought.keys()),
            list(sought.values()),
            list(scope.excluded),
            None if scope.documents is None else list(scope.documents),
            limit,
        )
        return [_hit(row) for row in rows]


def _hit(row: Row) -> TextHit:
    return TextHit(PassageId(row["document_id"], row["version"], row["ordinal"]), frozenset(row["found"]), row["rank"])


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


# $1 the question, $2 the owner.
_WORDS = rf"""
    WITH owned AS MATERIALIZED (
        SELECT coalesce(sum(chunk_count), 0) AS passages FROM searchable_documents WHERE owner_id = $2::uuid
    ), words AS (
        SELECT stem, {spellings("stem")} AS sought
        FROM unnest(tsvector_to_array(to_tsvector('{TEXT_SEARCH}'::regconfig, $1::text))) AS stem
        ORDER BY length(stem) DESC LIMIT {WORDS}
    )
    SELECT stem, sought,
           (SELECT count(*) FROM (
               SELECT FROM passages JOIN searchable_documents USING (document_id, version)
               WHERE search @@ ('''{OWNER_WORD}' || $2::uuid || ''' & (' || sought || ')')::tsquery
                 AND passages.owner_id = $2
               -- One more than a rare word may have: how common the others are does not matter.
               LIMIT greatest({RARE_AT_LEAST}, ceil({RARE_SHARE} * owned.passages)) + 1) AS holders) AS holders,
           owned.passages
    FROM words, owned
"""  # noqa: S608 - constants of ours

# $1 the owner, $2 what to search for, $3 what to rank by, $4 the question's stems, $5 what finds each of them, $6 the
# excluded documents, $7 those asked for, $8 how many.
_PASSAGES = f"""
    SELECT best.document_id, best.version, best.ordinal, best.rank,
           ARRAY(SELECT stem FROM unnest($4::text[], $5::text[]) AS word (stem, sought)
                 WHERE best.search @@ sought::tsquery) AS found
    FROM (
        SELECT held.*, ts_rank(held.search, $3::tsquery) AS rank
        FROM (
            SELECT p.document_id, p.version, p.ordinal, p.search
            FROM passages p
            JOIN searchable_documents d ON d.document_id = p.document_id AND d.version = p.version
            WHERE p.search @@ $2::tsquery
              AND p.owner_id = $1 AND d.owner_id = $1
              AND p.document_id <> ALL($6::uuid[])
              AND ($7::uuid[] IS NULL OR p.document_id = ANY($7))
            LIMIT {RANKED}
        ) AS held
        ORDER BY rank DESC LIMIT $8
    ) AS best
"""  # noqa: S608 - a constant of ours

"""The full-text half of the search, and which of the question's words are rare among an owner's passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from qa.evidence import RARE_AT_LEAST, RARE_SHARE, TextHit, Word, rare_words
from qa.passages import PassageId, Scope
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
        words, passages = await self._count(question, scope.owner)
        chosen = _choose(rare_words(words, passages))
        hits = await self._find(words, chosen, scope, limit) if chosen else []
        return TextFindings(words=words, passages=passages, hits=hits)

    async def _count(self, question: str, owner: UUID) -> tuple[list[Word], int]:
        rows = await self._statements.rows(_WORDS, question, owner)
        words = [Word(row["stem"], row["holders"]) for row in rows]
        return words, rows[0]["passages"] if rows else 0

    async def _find(self, words: Sequence[Word], chosen: Sequence[Word], scope: Scope, limit: int) -> list[TextHit]:
        sought = _any_of(chosen)
        rows = await self._statements.rows(
            _PASSAGES,
            scope.owner,
            f"{_quoted(OWNER_WORD + str(scope.owner))} & ({sought})",
            sought,
            [word.stem for word in words],
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


def _any_of(words: Sequence[Word]) -> str:
    return " | ".join(_quoted(word.stem) for word in words)


def _quoted(stem: str) -> str:
    """A stem as PostgreSQL reads it in a `tsquery`, whatever characters it has."""
    escaped = stem.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


# $1 the question, $2 the owner.
_WORDS = rf"""
    WITH owned AS MATERIALIZED (
        SELECT coalesce(sum(chunk_count), 0) AS passages FROM searchable_documents WHERE owner_id = $2::uuid
    ), words AS (
        SELECT stem, '''' || replace(replace(stem, '\', '\\'), '''', '''''') || '''' AS quoted
        FROM unnest(tsvector_to_array(to_tsvector('{TEXT_SEARCH}'::regconfig, $1::text))) AS stem
        ORDER BY length(stem) DESC LIMIT {WORDS}
    )
    SELECT stem,
           (SELECT count(*) FROM (
               SELECT FROM passages JOIN searchable_documents USING (document_id, version)
               WHERE search @@ ('''{OWNER_WORD}' || $2::uuid || ''' & ' || quoted)::tsquery AND passages.owner_id = $2
               -- One more than a rare word may have: how common the others are does not matter.
               LIMIT greatest({RARE_AT_LEAST}, ceil({RARE_SHARE} * owned.passages)) + 1) AS holders) AS holders,
           owned.passages
    FROM words, owned
"""  # noqa: S608 - constants of ours

# $1 the owner, $2 what to search for, $3 what to rank by, $4 the question's stems, $5 the excluded documents, $6 those
# asked for, $7 how many.
_PASSAGES = f"""
    SELECT best.document_id, best.version, best.ordinal, best.rank,
           ARRAY(SELECT unnest(tsvector_to_array(best.search)) INTERSECT SELECT unnest($4::text[])) AS found
    FROM (
        SELECT held.*, ts_rank(held.search, $3::tsquery) AS rank
        FROM (
            SELECT p.document_id, p.version, p.ordinal, p.search
            FROM passages p
            JOIN searchable_documents d ON d.document_id = p.document_id AND d.version = p.version
            WHERE p.search @@ $2::tsquery
              AND p.owner_id = $1 AND d.owner_id = $1
              AND p.document_id <> ALL($5::uuid[])
              AND ($6::uuid[] IS NULL OR p.document_id = ANY($6))
            LIMIT {RANKED}
        ) AS held
        ORDER BY rank DESC LIMIT $7
    ) AS best
"""  # noqa: S608 - a constant of ours

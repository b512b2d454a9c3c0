"""Reading passages: the one statement in which everything found is checked again against our own tables."""

from collections.abc import Sequence

from qa.fusing import Fused
from qa.passages import Passage, PassageId, Scope
from qa.statements import Statements


class Passages:
    """The texts of what was found."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def read(self, found: Sequence[Fused], scope: Scope, limit: int) -> list[Passage]:
        """The first `limit` that the scope may see, in their order; the rest is as if it had not been found.

        Its owner's, of the version that answers, not excluded, among the documents asked for: by our tables, whatever
        an index said.
        """
        if not found:
            return []
        rows = await self._statements.rows(
            _READ,
            [item.id.document for item in found],
            [item.id.version for item in found],
            [item.id.ordinal for item in found],
            [item.score for item in found],
            scope.owner,
            list(scope.excluded),
            None if scope.documents is None else list(scope.documents),
            limit,
        )
        return [
            Passage(
                id=PassageId(row["document_id"], row["version"], row["ordinal"]),
                filename=row["filename"],
                page=row["page"],
                start=row["starts_at"],
                end=row["ends_at"],
                text=row["text"],
                score=row["score"],
            )
            for row in rows
        ]


_READ = """
    SELECT p.document_id, p.version, p.ordinal, d.filename, p.page, p.starts_at, p.ends_at, p.text, found.score
    FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::float8[])
         WITH ORDINALITY AS found (document_id, version, ordinal, score, place)
    JOIN searchable_documents d
      ON d.document_id = found.document_id AND d.version = found.version AND d.owner_id = $5
    JOIN passages p
      ON p.document_id = found.document_id AND p.version = found.version AND p.ordinal = found.ordinal
     AND p.owner_id = $5
    WHERE d.document_id <> ALL($6::uuid[]) AND ($7::uuid[] IS NULL OR d.document_id = ANY($7))
    ORDER BY found.place
    LIMIT $8
"""

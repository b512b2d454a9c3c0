"""Reading passages: the one statement in which everything found is checked again against our own tables."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Double, Integer, Text, Uuid, bindparam, text

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
        values = {
            "documents": [item.id.document for item in found],
            "versions": [item.id.version for item in found],
            "ordinals": [item.id.ordinal for item in found],
            "scores": [item.score for item in found],
            "owner": scope.owner,
            "excluded": sorted(scope.excluded),
            "asked": None if scope.documents is None else sorted(scope.documents),
            "limit": limit,
        }
        rows = await self._statements.rows(_READ, values)
        return [
            Passage(
                id=PassageId(row.document_id, row.version, row.ordinal),
                filename=row.filename,
                page=row.page,
                start=row.starts_at,
                end=row.ends_at,
                text=row.text,
                score=row.score,
            )
            for row in rows
        ]


_READ = (
    text("""
    SELECT p.document_id, p.version, p.ordinal, d.filename, p.page, p.starts_at, p.ends_at, p.text, found.score
    FROM unnest(:documents, :versions, :ordinals, :scores)
         WITH ORDINALITY AS found (document_id, version, ordinal, score, place)
    JOIN searchable_documents d
      ON d.document_id = found.document_id AND d.version = found.version AND d.owner_id = :owner
    JOIN passages p
      ON p.document_id = found.document_id AND p.version = found.version AND p.ordinal = found.ordinal
     AND p.owner_id = :owner
    WHERE d.document_id <> ALL(:excluded) AND (:asked IS NULL OR d.document_id = ANY(:asked))
    ORDER BY found.place
    LIMIT :limit
""")
    .bindparams(
        bindparam("documents", type_=ARRAY(Uuid())),
        bindparam("versions", type_=ARRAY(Integer())),
        bindparam("ordinals", type_=ARRAY(Integer())),
        bindparam("scores", type_=ARRAY(Double())),
        bindparam("owner", type_=Uuid()),
        bindparam("excluded", type_=ARRAY(Uuid())),
        bindparam("asked", type_=ARRAY(Uuid())),
        bindparam("limit", type_=Integer()),
    )
    .columns(
        document_id=Uuid(),
        version=Integer(),
        ordinal=Integer(),
        filename=Text(),
        page=Integer(),
        starts_at=Integer(),
        ends_at=Integer(),
        text=Text(),
        score=Double(),
    )
)

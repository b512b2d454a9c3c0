"""Runs and embeddings, in the words of the use cases."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any
from uuid import UUID

from chassis.transactions import Driver, driver_of
from contracts.chunks_file import BATCH
from contracts.facts import DocumentChunked
from contracts.index import chunk_id
from messaging.tables import JobRow
from models.failures import REFUSED
from sqlalchemy import CursorResult, delete, exists, func, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from embedder.indexes import IndexSpec
from embedder.tables import DocumentEmbedding, EmbeddingRun


@dataclass(frozen=True)
class Run:
    """A version that is, or is being, embedded: `total` batches, from the chunks file of that attempt."""

    document_id: UUID
    version: int
    owner_id: UUID
    attempt: int
    round: int
    pages: int | None
    chunk_count: int
    chunks_sha256: str
    total: int

    def chunks_in(self, batch: int) -> int:
        return min(BATCH, self.chunk_count - batch * BATCH)


@dataclass(frozen=True)
class Target:
    """What is to be embedded, and every index that must have it."""

    run: Run
    indexes: Sequence[IndexSpec]


@dataclass(frozen=True)
class Embedded:
    """The vector of one chunk, as it is kept."""

    ordinal: int
    page: int | None
    vector: bytes


@dataclass(frozen=True)
class Piece:
    """Some vectors of one version of a document."""

    owner: UUID
    document: UUID
    version: int
    embedded: Sequence[Embedded]

    @property
    def ids(self) -> list[str]:
        return [chunk_id(self.document, self.version, one.ordinal) for one in self.embedded]


@dataclass(frozen=True)
class Place:
    """A document, whose it is, and how many chunks it has."""

    document: UUID
    owner: UUID
    chunks: int


@dataclass(frozen=True)
class Advance:
    """How far a version is after one more batch; `tell` if nobody was told within the last second.

    `wanted` are the indexes that must have the batch; after the last one, those of them that are `complete` have every
    chunk of the version.
    """

    done: int
    total: int
    embedded_count: int
    tell: bool
    wanted: Sequence[str]
    complete: Sequence[str]


@dataclass(frozen=True)
class Erased:
    """Rows that are gone: embeddings by index, and runs; `owner` is the runs', None if there were none."""

    embeddings: Mapping[str, int]
    runs: int
    owner: UUID | None


_RUN = ", ".join(field.name for field in fields(Run))
_INDEX = ", ".join(field.name for field in fields(IndexSpec))

_BEGIN_RUN = f"""
    INSERT INTO embedding_runs ({_RUN}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT DO NOTHING RETURNING true
"""  # noqa: S608 - constants of ours

_RUNS = f"SELECT {_RUN} FROM embedding_runs WHERE document_id = $1 ORDER BY version DESC"  # noqa: S608 - constants of ours

# A row for each index; without any index one row, which names none.
_TARGET = f"""
    SELECT {_RUN}, {_INDEX}
    FROM embedding_runs LEFT JOIN vector_indexes ON state IN ('active', 'building')
    WHERE document_id = $1 AND version = $2 ORDER BY generation DESC
"""  # noqa: S608 - constants of ours

_NEW = """
    INSERT INTO document_embeddings (index_id, document_id, version, ordinal, page, embedding_id, vector)
    SELECT new.index_id, $1::uuid, $2::int, new.ordinal, new.page, concat_ws(':', $1, $2, new.ordinal), new.vector
    FROM unnest($3::text[], $4::int[], $5::int[], $6::bytea[]) AS new(index_id, ordinal, page, vector)
"""

_KEEP = f"{_NEW} ON CONFLICT DO NOTHING"

# All batches of a document lock its fence before this: what those before it have kept is seen, and `kept` is the rest.
# Several may end in one transaction: who has told something within it is known by the time of the statement.
_ADVANCE = f"""
    WITH wanted AS (
        SELECT index_id, generation FROM vector_indexes WHERE state IN ('active', 'building')
    ), kept AS (
        {_NEW} WHERE new.index_id IN (SELECT index_id FROM wanted) ON CONFLICT DO NOTHING RETURNING index_id
    ), run AS (
        UPDATE embedding_runs SET done = done + 1, embedded_count = embedded_count + $7,
            progressed_at = CASE WHEN progressed_at > statement_timestamp() - interval '1 second' THEN progressed_at
                ELSE statement_timestamp() END
        WHERE document_id = $1 AND version = $2 RETURNING *
    )
    SELECT done, total, embedded_count, progressed_at = statement_timestamp() AS tell,
        ARRAY(SELECT index_id FROM wanted ORDER BY generation DESC) AS wanted,
        CASE WHEN done < total THEN '{{}}' ELSE ARRAY(
            SELECT index_id FROM wanted JOIN (
                SELECT index_id FROM document_embeddings WHERE document_id = $1 AND version = $2
                UNION ALL SELECT index_id FROM kept) AS there USING (index_id)
            GROUP BY index_id, generation HAVING count(*) >= run.chunk_count ORDER BY generation DESC) END AS complete
    FROM run
"""  # noqa: S608 - constants of ours

# The fence's conditions are those of `is_too_late`; whoever writes looks at it again, locked. Of an index that is being
# filled the planner's figures are always old: OFFSET 0 keeps it from joining, which would cost the square of its rows.
_LACKING = """
    SELECT there.document_id, there.version, there.ordinal, there.page, there.vector
    FROM unnest($1::uuid[]) AS wanted (document_id)
    JOIN fences AS fence ON fence.subject = wanted.document_id::text AND fence.deleted_at IS NULL
    CROSS JOIN LATERAL (
        SELECT * FROM document_embeddings AS kept
        WHERE kept.index_id = $2 AND kept.document_id = wanted.document_id
            AND kept.version >= fence.live AND kept.version <> ALL (fence.failed) AND NOT EXISTS (
                SELECT FROM document_embeddings AS here
                WHERE here.index_id = $3 AND here.document_id = kept.document_id AND here.version = kept.version
                    AND here.ordinal = kept.ordinal OFFSET 0)
        OFFSET 0) AS there
    ORDER BY there.document_id, there.version, there.ordinal LIMIT $4
"""

_COPY = """
    INSERT INTO document_embeddings (index_id, document_id, version, ordinal, page, embedding_id, vector)
    SELECT $1, there.document_id, there.version, there.ordinal, there.page, there.embedding_id, there.vector
    FROM unnest($3::uuid[], $4::int[], $5::int[]) AS piece (document_id, version, ordinal)
    CROSS JOIN LATERAL (
        SELECT * FROM document_embeddings AS kept
        WHERE kept.index_id = $2 AND kept.document_id = piece.document_id AND kept.version = piece.version
            AND kept.ordinal = piece.ordinal OFFSET 0) AS there
    ON CONFLICT DO NOTHING
"""


async def begin_run(session: AsyncSession, fact: DocumentChunked) -> Run | None:
    """The run of a version that was not known; None if it is."""
    run = Run(
        document_id=fact.document_id,
        version=fact.version,
        owner_id=fact.owner_id,
        attempt=fact.attempt,
        round=fact.round,
        pages=fact.pages,
        chunk_count=fact.chunk_count,
        chunks_sha256=fact.chunks_sha256,
        total=-(-fact.chunk_count // BATCH),
    )
    driver = await driver_of(session)
    return run if await driver.fetchval(_BEGIN_RUN, *astuple(run)) else None


async def target(driver: Driver, document: UUID, version: int) -> Target | None:
    """A version and the indexes that new vectors must be in, the newest first; None if it has no run."""
    rows = await driver.fetch(_TARGET, document, version)
    if not rows:
        return None
    width = len(fields(Run))
    indexes = [IndexSpec(*row[width:]) for row in rows if row["index_id"] is not None]
    return Target(Run(*rows[0][:width]), indexes)


async def owner(session: AsyncSession, document: UUID) -> UUID | None:
    """Whose document it is, if a batch of it was embedded: that was read from the owner's own file."""
    run = EmbeddingRun
    found: UUID | None = await session.scalar(
        select(run.owner_id).where(run.document_id == document, run.done > 0).limit(1)
    )
    return found


async def runs(session: AsyncSession, document: UUID) -> Sequence[Run]:
    """Every version of a document that is here, the newest first."""
    driver = await driver_of(session)
    return [Run(*row) for row in await driver.fetch(_RUNS, document)]


async def keep(
    session: AsyncSession, index_id: str, document: UUID, version: int, embedded: Sequence[Embedded]
) -> None:
    """Keep these vectors; those that are kept already stay as they are."""
    driver = await driver_of(session)
    await driver.execute(_KEEP, document, version, *_columns({index_id: embedded}))


async def advance(
    session: AsyncSession, document: UUID, version: int, by_index: Mapping[str, Sequence[Embedded]], *, chunks: int
) -> Advance | None:
    """One more batch is done, and its vectors are kept for all indexes that must have it; None if the run is gone."""
    driver = await driver_of(session)
    row = await driver.fetchrow(_ADVANCE, document, version, *_columns(by_index), chunks)
    return Advance(**row) if row is not None else None


async def lacking(
    session: AsyncSession, documents: Sequence[UUID], *, source: str, target: str, limit: int
) -> dict[tuple[UUID, int], list[Embedded]]:
    """The next vectors of these documents that one index has and the other has not, by document and version.

    Versions that are too late are left out.
    """
    driver = await driver_of(session)
    found: dict[tuple[UUID, int], list[Embedded]] = {}
    for document, version, *embedded in await driver.fetch(_LACKING, documents, source, target, limit):
        found.setdefault((document, version), []).append(Embedded(*embedded))
    return found


async def copy(session: AsyncSession, pieces: Sequence[Piece], *, source: str, target: str) -> None:
    """Keep vectors of one index in the other as well, without fetching them."""
    rows = [(piece.document, piece.version, one.ordinal) for piece in pieces for one in piece.embedded]
    documents, versions, ordinals = zip(*rows, strict=True) if rows else ((), (), ())
    driver = await driver_of(session)
    await driver.execute(_COPY, target, source, documents, versions, ordinals)


async def places(session: AsyncSession) -> list[Place]:
    """Every document that is here."""
    rows = await session.execute(
        select(EmbeddingRun.document_id, EmbeddingRun.owner_id, func.sum(EmbeddingRun.chunk_count)).group_by(
            EmbeddingRun.document_id, EmbeddingRun.owner_id
        )
    )
    return [Place(document, owner, int(chunks)) for document, owner, chunks in rows]


async def erase(session: AsyncSession, document: UUID, versions: Collection[int] | None = None) -> Erased:
    """Erase those versions of the document, or all, from every index."""
    some = [] if versions is None else [DocumentEmbedding.version.in_(versions)]
    rows = await session.execute(
        delete(DocumentEmbedding)
        .where(DocumentEmbedding.document_id == document, *some)
        .returning(DocumentEmbedding.index_id)
        .execution_options(synchronize_session=False)
    )
    counted: dict[str, int] = {}
    for (index_id,) in rows:
        counted[index_id] = counted.get(index_id, 0) + 1
    which = [] if versions is None else [EmbeddingRun.version.in_(versions)]
    owners = (
        await session.scalars(
            delete(EmbeddingRun)
            .where(EmbeddingRun.document_id == document, *which)
            .returning(EmbeddingRun.owner_id)
            .execution_options(synchronize_session=False)
        )
    ).all()
    return Erased(counted, len(owners), next(iter(owners), None))


async def count(session: AsyncSession, document: UUID) -> int:
    """Rows about the document that are left, of both tables."""
    left = 0
    for table in (DocumentEmbedding, EmbeddingRun):
        rows = select(func.count()).select_from(table).where(table.document_id == document)
        left += await session.scalar(rows) or 0
    return left


async def holds_anything(session: AsyncSession, index_id: str) -> bool:
    """Whether an index has any embedding."""
    return bool(await session.scalar(select(exists().where(DocumentEmbedding.index_id == index_id))))


async def counts(session: AsyncSession) -> dict[str, int]:
    """Embeddings by index."""
    rows = await session.execute(select(DocumentEmbedding.index_id, func.count()).group_by(DocumentEmbedding.index_id))
    return {index_id: int(number) for index_id, number in rows}


async def refused(session: AsyncSession, kind: str) -> dict[int, int]:
    """How many documents a provider has refused, by the version of their jobs of this kind."""
    waiting = (JobRow.kind == kind, JobRow.state == "waiting", JobRow.failure == REFUSED)
    documents = func.count(JobRow.subject.distinct())
    rows = await session.execute(select(JobRow.version, documents).where(*waiting).group_by(JobRow.version))
    return {version: int(number) for version, number in rows}


async def erase_index(session: AsyncSession, index_id: str, *, most: int) -> int:
    """Erase up to `most` embeddings of an index; how many there were."""
    key = inspect(DocumentEmbedding).primary_key
    some = select(*key).where(DocumentEmbedding.index_id == index_id).limit(most)
    return await _rowcount(session, delete(DocumentEmbedding).where(tuple_(*key).in_(some)))


async def jobs_wait(session: AsyncSession, kind: str, version: int) -> bool:
    """Whether a job of this kind and version has still to be begun."""
    waiting = exists().where(JobRow.kind == kind, JobRow.version == version, JobRow.state == "waiting")
    return bool(await session.scalar(select(waiting)))


async def owners_at_work(session: AsyncSession, kind: str) -> list[UUID]:
    """Whose documents somebody may be writing for at this moment."""
    live = (JobRow.kind == kind, JobRow.state == "running", JobRow.lease_until > func.clock_timestamp())
    return [UUID(owner) for owner in await session.scalars(select(JobRow.owner).where(*live).distinct())]


def _columns(by_index: Mapping[str, Sequence[Embedded]]) -> tuple[list[str], list[int], list[int | None], list[bytes]]:
    """Index, ordinal, page and vector of each, as arrays."""
    rows = [(index_id, one) for index_id, embedded in by_index.items() for one in embedded]
    return (
        [index_id for index_id, _ in rows],
        [one.ordinal for _, one in rows],
        [one.page for _, one in rows],
        [one.vector for _, one in rows],
    )


async def _rowcount(session: AsyncSession, statement: Any) -> int:
    result: CursorResult[Any] = await session.execute(statement.execution_options(synchronize_session=False))  # type: ignore[assignment]
    return result.rowcount

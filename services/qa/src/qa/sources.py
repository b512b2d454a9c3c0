"""Passages as the sources of an answer."""

from collections.abc import Collection, Sequence

from contracts.questions import Source, SourceLinks

from qa.passages import Passage


def as_sources(passages: Sequence[Passage], cited: Collection[int] = ()) -> list[Source]:
    """The sources in their order; `cited` are the ranks, from 1, that the answer cites."""
    return [_source(rank, passage, cited=rank in cited) for rank, passage in enumerate(passages, start=1)]


def _source(rank: int, passage: Passage, *, cited: bool) -> Source:
    document = f"/api/docs/{passage.id.document}"
    return Source(
        rank=rank,
        document_id=passage.id.document,
        filename=passage.filename,
        version=passage.id.version,
        page=passage.page,
        chunk_id=str(passage.id),
        start=passage.start,
        end=passage.end,
        text=passage.text,
        score=passage.score,
        cited=cited,
        links=SourceLinks(document=document, raw=f"{document}/raw"),
    )

"""What the gateway forwards to ingest."""

from typing import Annotated
from uuid import UUID

from chassis.identity import CallerDep
from contracts.documents import ChunkPage
from contracts.internal import LIVE_VERSION_HEADER
from fastapi import APIRouter, Depends, Header, Query, Request

from ingest import cursors
from ingest.showing import ShowChunks


def _show_chunks(request: Request) -> ShowChunks:
    show: ShowChunks = request.app.state.show_chunks
    return show


ShowChunksDep = Annotated[ShowChunks, Depends(_show_chunks)]

router = APIRouter(prefix="/api/docs")

_LARGEST_VERSION = 2**31 - 1  # what the columns hold


@router.get("/{document_id}/chunks")
async def list_chunks(
    document_id: UUID,
    caller: CallerDep,
    show: ShowChunksDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    live_version: Annotated[int, Header(alias=LIVE_VERSION_HEADER, ge=0, le=_LARGEST_VERSION)] = 0,
) -> ChunkPage:
    after = cursors.read(cursor) if cursor else None
    return await show(document_id, owner=caller.user_id, told_live=live_version, after=after, limit=limit)

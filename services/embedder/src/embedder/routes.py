"""What operators ask of the embedder. Not below /api: the gateway forwards none of it."""

from typing import Annotated

from chassis.operators import require_operator
from contracts.internal import BuildIndexRequest, IndexBuild, IndexBuilds
from fastapi import APIRouter, Depends, Request

from embedder.building import BuildIndex
from embedder.listing import ListIndexes

router = APIRouter(prefix="/internal", dependencies=[Depends(require_operator)], include_in_schema=False)


def _build(request: Request) -> BuildIndex:
    build: BuildIndex = request.app.state.build_index
    return build


def _list(request: Request) -> ListIndexes:
    found: ListIndexes = request.app.state.list_indexes
    return found


@router.post("/indexes", status_code=202)
async def build_index(
    asked: BuildIndexRequest, request: Request, build: Annotated[BuildIndex, Depends(_build)]
) -> IndexBuild:
    """Begin to build an index beside the one that answers; again while it is being built: the same one."""
    index = await build(asked.model, dimension=asked.dimension, shards=request.app.state.settings.shards)
    request.app.state.index_keeper.look_soon()
    return next(one for one in (await _list(request)()).items if one.index_id == index.index_id)


@router.get("/indexes")
async def list_indexes(found: Annotated[ListIndexes, Depends(_list)]) -> IndexBuilds:
    """Every index that is not dropped, the newest first."""
    return await found()


@router.delete("/indexes/building")
async def call_off_build(
    build: Annotated[BuildIndex, Depends(_build)], found: Annotated[ListIndexes, Depends(_list)]
) -> IndexBuilds:
    """Call off what is being built. Gives what is retired by that; it is dropped a day later."""
    retired = {index.index_id for index in await build.call_off()}
    return IndexBuilds(items=[one for one in (await found()).items if one.index_id in retired])

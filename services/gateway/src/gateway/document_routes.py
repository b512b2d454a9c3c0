"""Documents over HTTP: in, listed, shown, again, out."""

from typing import Annotated
from uuid import UUID

from chassis.streaming import EVENT_STREAM, Streamed
from contracts.documents import (
    ChunkPage,
    DeleteRequest,
    Deletion,
    DeletionsAnswer,
    Document,
    DocumentDeletion,
    DocumentPage,
    DocumentSort,
    DocumentStatus,
    RawLink,
    ReprocessAnswer,
    ReprocessRequest,
    Timeline,
    UploadAnswer,
)
from contracts.internal import LIVE_VERSION_HEADER
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import AfterValidator
from starlette.convertors import StringConvertor, register_url_convertor

from gateway import documents, idempotency, timeline
from gateway.callers import SECURITY, CallerDep, open_caller
from gateway.cursors import Query as ListQuery
from gateway.describing import FILE, FILES_FORM, REFUSED_UPLOAD, answers, problems
from gateway.errors import DocumentNotReady, malformed
from gateway.forwarding import onward
from gateway.intake import Limits
from gateway.multipart import MalformedBody
from gateway.parts import PartsDep
from gateway.raw import Bytes, Wanted
from gateway.receiving import form_of

UPLOAD = ("POST", "/api/upload")


def _plain(text: str) -> str:
    """Nothing that a database refuses to compare with."""
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be well-formed Unicode") from None
    return text


async def _wanted(
    part: Annotated[str | None, Header(alias="Range", description="One range of bytes.")] = None,
    if_range: Annotated[
        str | None, Header(alias="If-Range", description="The `ETag` that `Range` is meant for.")
    ] = None,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="An `ETag`: 304 if the file is still that one.")
    ] = None,
) -> Wanted:
    return Wanted(range=part, if_range=if_range, if_none_match=if_none_match)


class _DocumentId(StringConvertor):
    """What stands below `/docs` at an address of its own is no document, whatever the method."""

    regex = r"(?!(?:events|reprocess|delete)\Z)[^/]+"


register_url_convertor("document", _DocumentId())

WantedDep = Annotated[Wanted, Depends(_wanted)]
PartOfName = Annotated[str, Query(max_length=255), AfterValidator(_plain)]

router = APIRouter(prefix="/api", tags=["Documents"], dependencies=SECURITY, responses=problems(401, 413, 422, 503))


@router.post(
    "/upload",
    status_code=202,
    response_model=UploadAnswer,
    openapi_extra=FILES_FORM,
    responses=REFUSED_UPLOAD,
    summary="Upload one or more files",
)
async def upload(
    request: Request,
    caller: CallerDep,
    parts: PartsDep,
    idempotency_key: Annotated[
        idempotency.Key | None, Header(description="The same call with the same key gives the same answer, for a day.")
    ] = None,
) -> UploadAnswer:
    """Each part `files` is judged alone. The same bytes again give the document that is there already."""
    settings = parts.settings
    key = idempotency.checked(idempotency_key)
    limits = Limits(max_file_bytes=settings.max_file_bytes, max_files=settings.max_files)
    form = form_of(
        request,
        max_body_bytes=limits.max_body_bytes,
        stall_seconds=settings.upload_stall_seconds,
        seconds=settings.upload_seconds,
    )
    try:
        return await parts.upload(caller.user_id, form, key=key)
    except MalformedBody as error:
        raise malformed(error) from None


@router.get("/docs", summary="List documents")
async def list_documents(
    caller: CallerDep,
    parts: PartsDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=4096, description="`next_cursor` of the page before.")] = None,
    status: Annotated[list[DocumentStatus] | None, Query(max_length=20)] = None,
    q: Annotated[PartOfName | None, Query(description="A part of the filename, whatever its case.")] = None,
    sort: DocumentSort = DocumentSort.NEWEST,
) -> DocumentPage:
    """`counts` tell how many there are of each status, whatever the filter."""
    query = ListQuery(sort=sort, status=tuple(status or ()), q=q or None)
    async with parts.reads() as session:
        return await documents.page(session, caller.user_id, query, limit=limit, cursor=cursor)


@router.get(
    "/docs/events",
    operation_id="follow_documents",
    response_class=Streamed,
    responses={
        200: {
            "description": "Events `document` (a Document) and `gone` (a Gone); at its end `error` (a Problem).",
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        },
        **problems(429),
    },
    summary="Follow all documents as they change",
)
async def follow(
    request: Request, caller: CallerDep, parts: PartsDep, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """Begins with everything as it stands, or after `Last-Event-ID`. Events repeat state and may repeat."""
    parts.stream.admit(caller.user_id)
    events = parts.stream(
        caller,
        renew=lambda: open_caller(request),
        last_event_id=last_event_id,
        request_id=request.state.request_id,
    )
    return Streamed(events, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


@router.post("/docs/reprocess", status_code=202, summary="Process everything that failed once more")
async def reprocess_failed(body: ReprocessRequest, caller: CallerDep, parts: PartsDep) -> ReprocessAnswer:
    """What failed by its own fault is left out."""
    del body  # it can only say "failed"
    return ReprocessAnswer(accepted=await parts.reprocess.failed(caller.user_id))


@router.post("/docs/delete", status_code=202, summary="Delete several documents")
async def delete_documents(body: DeleteRequest, caller: CallerDep, parts: PartsDep) -> DeletionsAnswer:
    """Hidden from everything that begins after this answer; each receipt shows when it is erased."""
    return await parts.delete.many(caller.user_id, body.ids)


@router.get("/docs/{document_id:document}", responses=problems(404), summary="Show a document")
async def show_document(document_id: UUID, caller: CallerDep, parts: PartsDep) -> Document:
    async with parts.reads() as session:
        return documents.show(await documents.find(session, caller.user_id, document_id))


@router.delete("/docs/{document_id:document}", status_code=202, responses=problems(404), summary="Delete a document")
async def delete_document(document_id: UUID, caller: CallerDep, parts: PartsDep) -> DocumentDeletion:
    """In any state. Asked again, it gives the same receipt until that is complete."""
    return await parts.delete.one(caller.user_id, document_id)


@router.get(
    "/docs/{document_id}/raw",
    response_class=Response,
    responses={**FILE, **problems(404, 416)},
    summary="Download the file",
)
async def download(document_id: UUID, caller: CallerDep, parts: PartsDep, wanted: WantedDep) -> Response:
    """As it was uploaded; one `Range` at a time."""
    return _sent(await parts.read_raw.of_owner(caller.user_id, document_id, wanted))


@router.post(
    "/docs/{document_id}/raw-link", status_code=201, responses=problems(404), summary="Make a link that needs no token"
)
async def make_raw_link(document_id: UUID, caller: CallerDep, parts: PartsDep) -> RawLink:
    """For `<a href>` and `<iframe>`; `#page=N` opens a PDF at that page. It works for fifteen minutes."""
    return await parts.make_raw_link(caller.user_id, document_id)


@router.get(
    "/docs/{document_id}/chunks",
    response_class=Response,
    responses={**answers(ChunkPage), **problems(404, 409)},
    summary="Show what a document was split into",
)
async def list_chunks(
    request: Request,
    document_id: UUID,
    caller: CallerDep,
    parts: PartsDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
) -> Response:
    """Of the version that answers. 409 `cursor.stale` when a newer one took over between two pages."""
    del limit, cursor  # ingest reads them
    async with parts.reads() as session:
        row = await documents.find_readable(session, caller.user_id, document_id)
    if row.live_version is None:
        raise DocumentNotReady(document_id)
    return await parts.ingest(onward(request, caller=caller, headers={LIVE_VERSION_HEADER: str(row.live_version)}))


@router.get("/docs/{document_id}/timeline", responses=problems(404), summary="Show what happened to a document")
async def show_timeline(document_id: UUID, caller: CallerDep, parts: PartsDep) -> Timeline:
    async with parts.reads() as session:
        await documents.find(session, caller.user_id, document_id)
        return await timeline.read(session, document_id)


@router.post(
    "/docs/{document_id}/reprocess", status_code=202, responses=problems(404, 409), summary="Process once more"
)
async def reprocess(document_id: UUID, caller: CallerDep, parts: PartsDep) -> Document:
    """The old version answers until the new one is ready. 409 `document.busy` while it runs or is being deleted."""
    return await parts.reprocess.one(caller.user_id, document_id)


open_router = APIRouter(prefix="/api", tags=["Documents"], responses=problems(404, 422, 503))
"""What can be had without a login: by a secret that is in the address."""


@open_router.get("/deletions/{deletion_id}", dependencies=SECURITY, responses=problems(401), summary="Show a receipt")
async def show_deletion(request: Request, deletion_id: UUID, parts: PartsDep) -> Deletion:
    """What each store erased, and what it counted afterwards. An account's receipt is shown without a login."""
    if (of_account := await parts.read_deletion.of_account(deletion_id)) is not None:
        return of_account
    caller = await open_caller(request)
    return await parts.read_deletion.of_document(caller.user_id, deletion_id)


@open_router.get(
    "/raw/{token}",
    response_class=Response,
    responses={**FILE, **problems(416)},
    summary="Show the file behind a link",
)
async def show_raw(token: str, parts: PartsDep, wanted: WantedDep) -> Response:
    """Inline, by the link's secret alone."""
    return _sent(await parts.read_raw.by_link(token, wanted))


def _sent(found: Bytes) -> Response:
    if found.body is None:
        return Response(status_code=found.status, headers=dict(found.headers))
    return Streamed(found.body, status_code=found.status, headers=dict(found.headers))

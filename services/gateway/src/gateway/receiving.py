"""The body of an upload, bounded before anything of it is read."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

from gateway.errors import BodyTooLarge, UnsupportedBody, UploadTooSlow, malformed
from gateway.multipart import MalformedBody, Multipart, boundary_of


def form_of(request: Request, *, max_body_bytes: int, stall_seconds: float, seconds: float) -> Multipart:
    """The form, unread. Raises `BodyTooLarge` and `UnsupportedBody`, and 422 for a type without boundary."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_body_bytes:
        raise BodyTooLarge(max_body_bytes)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedBody("Send the form as it is, without a content encoding.")
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        raise UnsupportedBody("Send the files as multipart/form-data, in parts named files.")
    try:
        return Multipart(_bounded(request, max_body_bytes, stall_seconds=stall_seconds, seconds=seconds), boundary)
    except MalformedBody as error:
        raise malformed(error) from None


async def _bounded(request: Request, most: int, *, stall_seconds: float, seconds: float) -> AsyncIterator[bytes]:
    """The body, piece by piece; its announced length may have been a lie, or missing."""
    size = 0
    stream = aiter(request.stream())
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while True:
        try:
            async with asyncio.timeout(min(stall_seconds, end - clock())):
                piece = await anext(stream, None)
        except TimeoutError:
            raise UploadTooSlow from None
        if piece is None:
            return
        size += len(piece)
        if size > most:
            raise BodyTooLarge(most)
        if piece:
            yield piece

"""Objects in a bucket of any S3, through the `minio` client.

The client is synchronous and patient: here it runs in a bounded thread pool, on a connection pool of its own with
short time limits and few retries.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

import urllib3
from minio import Minio
from minio.datatypes import Part
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from urllib3.util import Retry, Timeout

from chassis.failures import LONGEST_RETRY_AFTER, Failure, Misconfigured, Transient
from chassis.finishing import to_the_end
from chassis.objects import (
    ABANDONED,
    PIECE,
    ObjectMissing,
    StoredObject,
    check_size,
    checked_key,
    checked_prefix,
    next_piece,
)

T = TypeVar("T")

PART = 8 * 1024 * 1024
"""Bytes of a multipart upload's part, and what an upload holds in memory; S3 allows none below 5 MiB."""

THREADS = 8

THREAD_SECONDS = 10.0
"""How long one waits for a thread. While a store is away each of them stands for seconds at every call."""

UPLOADS = 32
"""Uploads of more than a piece at once. They last as long as their sources, and each holds a part in memory."""

PLACE_SECONDS = 30.0
"""How long one more waits for its turn. What fills the places may be senders who take an hour."""

READ_SECONDS = 15.0
"""A part of 8 MiB is on the server's disk well within it."""

RETRIES = 2

PAGE = 500

MISSING = {"NoSuchKey", "NoSuchObject", "NoSuchVersion"}

OURS = {
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "NoSuchBucket",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}
"""Errors that no waiting cures."""

FULL = {"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"}


@dataclass
class _Upload:
    """An object on its way in parts: its id at the server once it has one, and what has arrived."""

    key: str
    id: str = ""
    parts: list[Part] = field(default_factory=list)


class S3Files:
    """The object store in a bucket, which `check` makes if it is not there and that is allowed."""

    def __init__(
        self,
        *,
        bucket: str,
        endpoint: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        secure: bool = True,
    ) -> None:
        self._bucket = bucket
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            region=region,
            secure=secure,
            http_client=urllib3.PoolManager(
                maxsize=THREADS,
                timeout=Timeout(connect=2.0, read=READ_SECONDS),
                # A thread does not sit out the minute that MinIO asks for: whoever called is told of it.
                retries=Retry(
                    total=RETRIES,
                    backoff_factor=0.2,
                    status_forcelist=(500, 502, 503, 504),
                    respect_retry_after_header=False,
                    raise_on_status=False,
                ),
            ),
        )
        self._threads = asyncio.Semaphore(THREADS)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="objects")
        self._uploads = asyncio.Semaphore(UPLOADS)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        checked_key(key)
        first = await next_piece(chunks)
        if len(first) < PIECE:
            check_size(len(first), size)
            await self._put_whole(key, first)
            return
        async with self._place(), aclosing(_in_parts(first, chunks, size)) as parts:
            part = await anext(parts)
            if len(part) < PART:
                await self._put_whole(key, part)
            else:
                await self._put_parts(_Upload(key), part, parts)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Room for one upload's part in memory."""
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._uploads.acquire()
        except TimeoutError:
            detail = f"{UPLOADS} large uploads are under way, and none has ended."
            raise Transient("storage.unavailable", detail, PLACE_SECONDS) from None
        try:
            yield
        finally:
            self._uploads.release()

    async def _put_whole(self, key: str, content: bytes | bytearray) -> None:
        await to_the_end(self._in_thread(lambda: self._send_whole(key, content)))

    async def _put_parts(self, upload: _Upload, first: bytearray, others: AsyncIterator[bytearray]) -> None:
        """One part after the other: parts in parallel would each be held in memory."""
        part: bytearray | None = first
        try:
            while part is not None:
                await to_the_end(self._in_thread(partial(self._send, upload, part)))
                part.clear()  # not held while the next one comes
                part = await anext(others, None)
            await to_the_end(self._in_thread(partial(self._complete, upload)))
        except BaseException:
            with suppress(Failure, ObjectMissing):  # then what has arrived is swept
                await to_the_end(self._in_thread_at_last(partial(self._abort, upload)))
            raise

    async def open(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        checked_key(key)
        if end is not None and end <= start:
            return
        length = 0 if end is None else end - start
        response, piece = await self._in_thread(lambda: self._begin(key, start, length))
        try:
            while piece:
                yield piece
                piece = b"" if response is None else await self._in_thread(partial(response.read, PIECE))
        finally:
            if response is not None:
                await to_the_end(self._in_thread_at_last(partial(_give_back, response)))

    async def stat(self, key: str) -> StoredObject | None:
        checked_key(key)
        try:
            found = await self._in_thread(lambda: self._client.stat_object(self._bucket, key))
        except ObjectMissing:
            return None
        return StoredObject(key, found.size or 0, found.last_modified or datetime.now(UTC))

    async def read(self, key: str, start: int, length: int) -> bytes:
        checked_key(key)
        if length <= 0:
            return b""
        return b"".join([piece async for piece in self.open(key, start=start, end=start + length)])

    async def delete(self, key: str) -> bool:
        if await self.stat(key) is None:
            return False
        await self._in_thread(lambda: self._client.remove_object(self._bucket, key))
        return True

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        checked_prefix(prefix)
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        while page := await self._in_thread(lambda: list(islice(found, PAGE))):
            for item in page:
                yield StoredObject(item.object_name or "", item.size or 0, item.last_modified or datetime.now(UTC))

    async def delete_prefix(self, prefix: str) -> int:
        removed = 0
        keys: list[str] = [found.key async for found in self.list(prefix)]
        for begin in range(0, len(keys), PAGE):
            page = keys[begin : begin + PAGE]
            await self._in_thread(partial(self._remove_all, page))
            removed += len(page)
        return removed

    async def sweep(self) -> int:
        before = datetime.now(UTC) - ABANDONED
        return await self._in_thread(lambda: self._abort_older(before))

    async def check(self) -> str | None:
        try:
            return await self._in_thread(self._examine)
        except (Transient, Misconfigured) as failure:
            return failure.detail

    # The client offers the steps of an upload to itself only: its own `put_object` waits in its thread for a source.

    def _send_whole(self, key: str, content: bytes | bytearray) -> None:
        self._client._put_object(self._bucket, key, _as_bytes(content))

    def _send(self, upload: _Upload, part: bytearray) -> None:
        upload.id = upload.id or self._client._create_multipart_upload(self._bucket, upload.key, {})
        number = len(upload.parts) + 1
        etag = self._client._upload_part(self._bucket, upload.key, _as_bytes(part), None, upload.id, number)
        upload.parts.append(Part(number, etag))

    def _complete(self, upload: _Upload) -> None:
        self._client._complete_multipart_upload(self._bucket, upload.key, upload.id, upload.parts)

    def _abort(self, upload: _Upload) -> None:
        if upload.id:
            self._client._abort_multipart_upload(self._bucket, upload.key, upload.id)

    def _begin(self, key: str, start: int, length: int) -> tuple[Any, bytes]:
        """The first piece, empty if the object ends before `start`, and the open answer if it may have another one."""
        try:
            response = self._client.get_object(self._bucket, key, offset=start, length=length)
        except S3Error as error:
            if error.code == "InvalidRange":
                return None, b""
            raise
        try:
            piece = response.read(PIECE)
        except BaseException:
            _give_back(response)
            raise
        if response.length_remaining == 0:
            _give_back(response)
            return None, piece
        return response, piece

    def _remove_all(self, keys: Sequence[str]) -> None:
        for error in self._client.remove_objects(self._bucket, [DeleteObject(key) for key in keys]):
            if error.code not in MISSING:
                raise Transient("storage.unavailable", f"The object store did not delete an object ({error.code}).")

    def _abort_older(self, before: datetime) -> int:
        # The client offers this to itself only: it leaves abandoned parts to the life cycle that a bucket may have.
        listed = self._client._list_multipart_uploads(self._bucket)
        abandoned = [one for one in listed.uploads if one.initiated_time is not None and one.initiated_time < before]
        for one in abandoned:
            self._client._abort_multipart_upload(self._bucket, one.object_name, one.upload_id or "")
        return len(abandoned)

    def _examine(self) -> str | None:
        if not self._client.bucket_exists(self._bucket):
            self._client.make_bucket(self._bucket)
        if self._client.get_bucket_versioning(self._bucket).status == "Enabled":
            return f"bucket {self._bucket} keeps versions: what is deleted would stay. Suspend its versioning."
        return None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(THREAD_SECONDS):
                await self._threads.acquire()
        except TimeoutError:
            raise Transient("storage.unavailable", "The object store does not get through with its work.") from None
        return await self._in_this_thread(work)

    async def _in_thread_at_last(self, work: Callable[[], T]) -> T:
        """For what cleans up: it waits for its thread however long that takes."""
        await self._threads.acquire()
        return await self._in_this_thread(work)

    async def _in_this_thread(self, work: Callable[[], T]) -> T:
        def run() -> T:
            with _failures():
                return work()

        loop = asyncio.get_running_loop()

        def release(_: Future[T]) -> None:
            with suppress(RuntimeError):  # of a loop that is closed by then
                loop.call_soon_threadsafe(self._threads.release)

        # Whoever is cancelled leaves the thread at work: it is free when that has ended.
        working = self._pool.submit(run)
        working.add_done_callback(release)
        return await asyncio.wrap_future(working)


async def _in_parts(first: bytes, chunks: AsyncIterator[bytes], size: int | None) -> AsyncGenerator[bytearray, None]:
    """The source in parts of one size, the last one perhaps smaller. Nobody but the event loop waits for them."""
    part, came = bytearray(), 0
    chunk: bytes | None = first
    while chunk is not None:
        came += len(chunk)
        part += chunk
        while len(part) > PART:
            rest = part[PART:]
            del part[PART:]
            yield part
            part = rest
        chunk = await anext(chunks, None)
    check_size(came, size)
    yield part


def _as_bytes(content: bytes | bytearray) -> bytes:
    """As the client declares it; it sends any buffer, and a copy would be as large as the part."""
    return cast(bytes, content)


def _give_back(response: Any) -> None:
    response.close()
    response.release_conn()


@contextmanager
def _failures() -> Iterator[None]:
    """Which kind of failure the client's word is."""
    try:
        yield
    except S3Error as error:
        raise _failure_of(error) from error
    except (urllib3.exceptions.HTTPError, MinioException, OSError) as error:
        raise Transient("storage.unavailable", f"The object store does not answer ({type(error).__name__}).") from error


def _failure_of(error: S3Error) -> Exception:
    code = error.code or "unknown"
    if code in MISSING:
        return ObjectMissing(error.object_name or "")
    if code in FULL:
        return Misconfigured("storage.full", f"The object store is full ({code}).")
    if code in OURS:
        return Misconfigured("storage.misconfigured", f"The object store refuses us ({code}).")
    return Transient("storage.unavailable", f"The object store does not work ({code}).", _retry_after(error))


def _retry_after(error: S3Error) -> float | None:
    """Seconds after which the server wants to be asked again; as a date nobody's does."""
    asked = error.response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_RETRY_AFTER) if asked.isdecimal() else None

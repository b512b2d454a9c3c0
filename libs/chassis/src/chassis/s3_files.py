"""Objects in a bucket of any S3, through the `minio` client.

The client is synchronous and patient: here it runs in a bounded thread pool, on a connection pool of its own with
short time limits and few retries.
"""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from io import BytesIO, RawIOBase
from itertools import islice
from typing import Any, BinaryIO, TypeVar, cast

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from urllib3.util import Retry, Timeout

from chassis.failures import Misconfigured, Transient
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
    "SignatureDoesNotMatch",
}
"""Errors that no waiting cures."""

FULL = {"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"}


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
                retries=Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
            ),
        )
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="objects")

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        checked_key(key)
        first = await next_piece(chunks)
        if len(first) < PIECE:
            check_size(len(first), size)
            await to_the_end(self._in_thread(lambda: self._upload_whole(key, first)))
        else:
            await self._put_large(key, _Supply(first, chunks, size))

    async def _put_large(self, key: str, supply: "_Supply") -> None:
        upload = asyncio.ensure_future(self._in_thread(lambda: self._upload(key, supply)))
        try:
            await supply.serve_until(upload)
        finally:
            supply.end()
            await to_the_end(_settled(upload))
        await upload

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
                await to_the_end(self._in_thread(partial(_give_back, response)))

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

    def _upload_whole(self, key: str, content: bytes) -> None:
        self._client.put_object(self._bucket, key, BytesIO(content), len(content))

    def _upload(self, key: str, supply: "_Supply") -> None:
        # One part after the other: parts in parallel would each be held in memory.
        self._client.put_object(self._bucket, key, cast(BinaryIO, supply), -1, part_size=PART, num_parallel_uploads=1)

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
        # The client offers this to itself only: whoever uploads in parts is to clean up in his bucket's life cycle.
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
        def run() -> T:
            with _failures():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)


class _Supply(RawIOBase):
    """Bridges an asynchronous source to a client that reads in a thread: the thread asks, the event loop hands over.

    At most what was asked for is held; whatever the source raises is raised in the thread as well, so that the client
    gives the upload up.
    """

    def __init__(self, first: bytes, chunks: AsyncIterator[bytes], size: int | None) -> None:
        super().__init__()
        self._chunks = chunks
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Queue[int] = asyncio.Queue()
        self._given: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        self._rest = bytearray(first)
        self._taken = len(first)

    def read(self, wanted: int = -1, /) -> bytes:
        """In the client's thread."""
        self._loop.call_soon_threadsafe(self._asked.put_nowait, wanted)
        given = self._given.get()
        if isinstance(given, BaseException):
            raise given
        return given

    async def serve_until(self, upload: "asyncio.Future[None]") -> None:
        """Hand over what is asked for until the upload has ended."""
        while not upload.done():
            asked = asyncio.ensure_future(self._asked.get())
            either: list[asyncio.Future[Any]] = [asked, upload]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if asked.done():
                    self._given.put(await self._gather(asked.result()))
            finally:
                asked.cancel()

    def end(self) -> None:
        """The source gives no more; a thread that still waits for it is told so."""
        self._given.put(_SourceEnded())

    async def _gather(self, wanted: int) -> bytes:
        while len(self._rest) < wanted:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                check_size(self._taken, self._size)
                break
            self._rest += chunk
            self._taken += len(chunk)
        given = bytes(self._rest[:wanted])
        del self._rest[:wanted]
        return given


class _SourceEnded(Exception):
    """The upload's source broke off; its own error is raised to the caller of `put`."""


async def _settled(upload: "asyncio.Future[None]") -> None:
    await asyncio.wait([upload])
    if not upload.cancelled():
        upload.exception()


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
        return Transient("storage.full", f"The object store is full ({code}).")
    if code in OURS:
        return Misconfigured("storage.misconfigured", f"The object store refuses us ({code}).")
    return Transient("storage.unavailable", f"The object store does not work ({code}).")

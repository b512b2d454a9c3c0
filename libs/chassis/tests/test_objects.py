"""One suite for both object stores: a folder, and S3 as moto's server speaks it, or as a server that is given."""

import asyncio
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from chassis import s3_files as s3_store
from chassis.failures import Failure, Misconfigured, Transient
from chassis.local_files import LocalFiles
from chassis.new_file import can_be_nameless
from chassis.objects import BadKey, ObjectMissing, ObjectStore, open_store
from chassis.s3_files import S3Files
from chassis.settings import ObjectStoreSettings

from tests.stubs.http import HttpStub, Reply, Request

OWNER = "users/019a1111-2222-7333-8444-555566667777"
KEY = f"{OWNER}/documents/019a2222-2222-7333-8444-555566667777/raw"
MIB = 1024 * 1024


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """host:port of an S3 server."""
    if given := os.environ.get("DOCQA_TEST_S3_ENDPOINT"):
        yield given
        return
    from moto.server import ThreadedMotoServer

    os.environ.setdefault("MOTO_S3_CUSTOM_ENDPOINTS", "")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


def s3_files(endpoint: str, bucket: str) -> S3Files:
    return S3Files(
        bucket=bucket,
        endpoint=endpoint,
        access_key=os.environ.get("DOCQA_TEST_S3_ACCESS_KEY", "docqa"),
        secret_key=os.environ.get("DOCQA_TEST_S3_SECRET_KEY", "docqa-secret"),
        secure=False,
    )


@pytest.fixture
def files_need_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """As wherever there is no Linux."""
    monkeypatch.delattr(os, "O_TMPFILE")


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "no links here")


@pytest.fixture(params=["files", "files with names", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param.startswith("files"):
        if request.param == "files with names":
            request.getfixturevalue("files_need_names")
        return LocalFiles(tmp_path / "objects")
    store = s3_files(request.getfixturevalue("s3_endpoint"), f"docqa-{uuid4().hex[:8]}")
    assert await store.check() is None
    return store


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        await asyncio.sleep(0)
        yield piece


async def whole(store: ObjectStore, key: str = KEY, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.open(key, start=start, end=end)])


async def keys(store: ObjectStore, prefix: str = OWNER) -> set[str]:
    return {found.key async for found in store.list(prefix)}


async def test_what_was_put_is_read_back(store: ObjectStore) -> None:
    await store.put(KEY, pieces(b"one ", b"", b"two"))

    assert await whole(store) == b"one two"
    found = await store.stat(KEY)
    assert found is not None
    assert (found.key, found.size) == (KEY, 7)
    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("size", [0, 1, MIB, 8 * MIB, 8 * MIB + 1, 21 * MIB + 7])
async def test_objects_of_every_size_come_back_as_they_were(store: ObjectStore, size: int) -> None:
    content = os.urandom(size)
    step = 700_001

    await store.put(KEY, pieces(*(content[at : at + step] for at in range(0, size, step))), size=size)

    assert await whole(store) == content
    found = await store.stat(KEY)
    assert found is not None
    assert found.size == size


async def test_a_range_gives_its_bytes_and_ends_with_the_object(store: ObjectStore) -> None:
    await store.put(KEY, pieces(bytes(range(100))))

    assert await whole(store, start=10, end=20) == bytes(range(10, 20))
    assert await whole(store, start=90) == bytes(range(90, 100))
    assert await whole(store, start=0, end=1) == b"\x00"
    assert await whole(store, start=5, end=5) == b""
    assert await whole(store, start=100) == b""
    assert await whole(store, start=90, end=1000) == bytes(range(90, 100))
    assert await store.read(KEY, 40, 10) == bytes(range(40, 50))
    assert await store.read(KEY, 95, 10) == bytes(range(95, 100))
    assert await store.read(KEY, 200, 10) == b""
    assert await store.read(KEY, 0, 0) == b""


async def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    await store.put(KEY, pieces(b"the first, and longer"))
    await store.put(KEY, pieces(b"second"))

    assert await whole(store) == b"second"
    assert await keys(store) == {KEY}


async def test_what_is_missing_is_missing(store: ObjectStore) -> None:
    assert await store.stat(KEY) is None
    assert await store.delete(KEY) is False
    assert await keys(store) == set()
    assert await store.delete_prefix(OWNER) == 0
    with pytest.raises(ObjectMissing) as raised:
        await whole(store)
    assert KEY in str(raised.value)
    with pytest.raises(ObjectMissing):
        await store.read(KEY, 0, 10)


async def test_a_folder_is_no_object(store: ObjectStore) -> None:
    await store.put(KEY, pieces(b"x"))

    assert await store.stat(OWNER) is None
    assert await store.delete(OWNER) is False
    with pytest.raises(ObjectMissing):
        await whole(store, OWNER)


async def test_below_an_object_there_is_none(store: ObjectStore) -> None:
    await store.put(KEY, pieces(b"x"))

    assert await store.stat(f"{KEY}/below") is None
    assert await store.delete(f"{KEY}/below") is False
    with pytest.raises(ObjectMissing):
        await store.read(f"{KEY}/below", 0, 1)


async def test_deleting_says_whether_there_was_something(store: ObjectStore) -> None:
    await store.put(KEY, pieces(b"x"))

    assert await store.delete(KEY) is True
    assert await store.delete(KEY) is False
    assert await store.stat(KEY) is None


async def test_listing_and_deleting_by_prefix_touch_nothing_else(store: ObjectStore) -> None:
    mine = {f"{OWNER}/documents/a/{name}" for name in ("raw", "about.json", "v1/chunks.1.jsonl", "v1/chunks.2.jsonl")}
    others = {f"{OWNER}/documents/ab/raw", "users/other/documents/a/raw"}
    for key in mine | others:
        await store.put(key, pieces(key.encode()))

    assert await keys(store, f"{OWNER}/documents/a/") == mine
    assert await keys(store, f"{OWNER}/documents/a/v1/chunks.") == {key for key in mine if "chunks" in key}
    assert await store.delete_prefix(f"{OWNER}/documents/a/") == 4
    assert await keys(store, "users") == others
    assert await store.delete_prefix(f"{OWNER}/documents/a/") == 0


class Broken(Exception):
    pass


@pytest.mark.parametrize("size", [10, 20 * MIB])
async def test_a_source_that_breaks_leaves_what_was_there(store: ObjectStore, size: int) -> None:
    await store.put(KEY, pieces(b"before"))

    async def breaking() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * (size // 10)
        raise Broken

    with pytest.raises(Broken):
        await store.put(KEY, breaking())

    assert await whole(store) == b"before"
    assert await keys(store) == {KEY}


async def test_a_put_that_is_cancelled_leaves_what_was_there(store: ObjectStore) -> None:
    await store.put(KEY, pieces(b"before"))
    halfway = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * (9 * MIB)
        halfway.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put(KEY, slow()))
    await halfway.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await whole(store) == b"before"
    await store.put(KEY, pieces(b"after"))
    assert await whole(store) == b"after"


@pytest.mark.parametrize("announced", [2, 4])
async def test_another_size_than_announced_is_refused(store: ObjectStore, announced: int) -> None:
    with pytest.raises(ValueError, match="announced"):
        await store.put(KEY, pieces(b"abc"), size=announced)

    assert await store.stat(KEY) is None


async def test_readers_that_stop_early_give_everything_back(store: ObjectStore) -> None:
    await store.put(KEY, pieces(b"x" * (3 * MIB)))
    for _ in range(30):
        reading = store.open(KEY)
        assert await anext(reading)
        await reading.aclose()  # type: ignore[attr-defined]

    assert len(await whole(store)) == 3 * MIB


async def test_objects_that_are_put_at_once_do_not_meet(store: ObjectStore) -> None:
    names = [f"{OWNER}/documents/{number}/raw" for number in range(30)]
    await asyncio.gather(*(store.put(name, pieces(name.encode())) for name in names))

    assert await asyncio.gather(*(whole(store, name) for name in names)) == [name.encode() for name in names]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "users/../x",
        "users//x",
        "users/.",
        "a/",
        ".incoming/x",
        "a\\b",
        "a\0",
        "é",
        "a b",
        "a\n",
        "x" * 600,
        "users/\ud800",
    ],
)
async def test_a_key_never_leaves_its_place(store: ObjectStore, key: str) -> None:
    for attempt in (
        store.put(key, pieces(b"x")),
        store.stat(key),
        store.read(key, 0, 1),
        store.delete(key),
        whole(store, key),
    ):
        with pytest.raises(BadKey):
            await attempt


@pytest.mark.parametrize("prefix", ["", "/", "../", "users/../"])
async def test_nobody_deletes_everything(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(BadKey):
        await store.delete_prefix(prefix)
    with pytest.raises(BadKey):
        await keys(store, prefix)


# the folder


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


async def test_nothing_temporary_is_left(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path / "objects")

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * (3 * MIB)
        raise Broken

    with pytest.raises(Broken):
        await store.put(KEY, breaking())
    await store.put(KEY, pieces(b"x"))
    assert await store.check() is None

    assert files_below(tmp_path) == {f"objects/{KEY}"}


DIES_WRITING = """
import asyncio, os, signal, sys
from pathlib import Path
from chassis.local_files import LocalFiles

async def pieces():
    yield b"x" * 2**20
    yield b"x" * 2**20
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(LocalFiles(Path(sys.argv[1])).put(sys.argv[2], pieces()))
"""


async def test_a_process_that_is_killed_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    if not can_be_nameless(tmp_path):
        pytest.skip("no file is without a name on this file system")
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", DIES_WRITING, tmp_path / "objects", KEY)

    assert await writer.wait() == -signal.SIGKILL
    assert files_below(tmp_path) == set()


async def test_where_a_file_cannot_be_named_afterwards_it_has_a_name_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalFiles(tmp_path / "objects")
    monkeypatch.setattr(os, "link", refuse)
    for size in (1, 3 * MIB):
        await store.put(KEY, pieces(b"x" * size))
        assert await whole(store) == b"x" * size

    assert files_below(tmp_path) == {f"objects/{KEY}"}


async def test_empty_folders_go_with_their_last_object(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path / "objects")
    await store.put(KEY, pieces(b"x"))
    await store.delete(KEY)

    assert not (tmp_path / "objects/users").exists()


async def test_putting_and_deleting_side_by_side_never_fails(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path / "objects")

    async def churn(name: str) -> None:
        for _ in range(40):
            await store.put(f"{OWNER}/{name}", pieces(b"x"))
            await store.delete(f"{OWNER}/{name}")

    await asyncio.gather(*(churn(f"n{number}") for number in range(4)))

    assert await keys(store) == set()


@pytest.mark.usefixtures("files_need_names")
async def test_what_a_dead_process_left_behind_is_swept_and_what_is_under_way_is_not(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path / "objects")
    assert await store.sweep() == 0
    await store.put(KEY, pieces(b"x"))
    left, fresh = tmp_path / "objects/.incoming/left", tmp_path / "objects/.incoming/fresh"
    left.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(left, (0, 0))

    assert await store.sweep() == 1
    assert fresh.exists()
    assert await whole(store) == b"x"


async def test_a_root_that_is_no_folder_is_a_misconfiguration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = LocalFiles(tmp_path / "file" / "objects")

    with pytest.raises(Misconfigured):
        await store.put(KEY, pieces(b"x"))
    assert "cannot be used" in (await store.check() or "")


async def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalFiles(tmp_path)
    await store.put(KEY, pieces(b"x"))
    scan = os.scandir

    def refuse(path: str) -> Any:
        if Path(path) == (tmp_path / KEY).parent:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for look in (lambda: keys(store), lambda: store.delete_prefix(f"{OWNER}/")):
        with pytest.raises(Transient):
            await look()
    monkeypatch.undo()
    assert await keys(store) == {KEY}


@pytest.mark.usefixtures("files_need_names")
@pytest.mark.parametrize("size", [1, 3 * MIB])
async def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, size: int) -> None:
    full = Path("/dev/full")  # every write to it fails with ENOSPC

    class OnFullDisk(LocalFiles):
        def _temporary(self) -> Path:
            temporary = super()._temporary()
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.symlink_to(full)
            return temporary

    store = OnFullDisk(tmp_path / "objects")
    with pytest.raises(Misconfigured) as raised:
        await store.put(KEY, pieces(b"x" * size))

    assert raised.value.code == "storage.full"
    assert await keys(store) == set()
    assert files_below(tmp_path) == set()


async def test_a_disk_that_gets_full_within_a_piece_keeps_nothing_of_it(tmp_path: Path) -> None:
    """The call that meets the end of the disk writes a part and does not fail; the next one does."""
    store = LocalFiles(tmp_path / "objects")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    signalled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
    try:
        with pytest.raises(Transient):
            await store.put(KEY, pieces(b"x" * 1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, signalled)

    assert files_below(tmp_path) == set()


# S3


class SlowClients:
    """They send a megabyte, and the rest once they are told to."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def source(self) -> AsyncIterator[bytes]:
        yield b"x" * MIB
        self.asked.release()
        await self.told.wait()
        yield b"y"

    async def all_asked(self, count: int) -> None:
        for _ in range(count):
            await self.asked.acquire()

    def upload(self, store: ObjectStore, count: int) -> "asyncio.Future[list[None]]":
        return asyncio.gather(*(store.put(f"{OWNER}/{number}", self.source()) for number in range(count)))


async def test_slow_uploads_do_not_take_the_store_away_from_others(s3_endpoint: str) -> None:
    store = s3_files(s3_endpoint, f"docqa-{uuid4().hex[:8]}")
    assert await store.check() is None
    clients = SlowClients()
    uploads = clients.upload(store, s3_store.THREADS)
    await clients.all_asked(s3_store.THREADS)

    try:
        async with asyncio.timeout(5):
            assert await store.check() is None
            await store.put(KEY, pieces(b"x"))
    finally:
        clients.told.set()
        await uploads

    assert len(await keys(store)) == s3_store.THREADS + 1


async def test_no_more_uploads_hold_a_part_in_memory_than_there_is_room_for(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "UPLOADS", 2)
    store = s3_files(s3_endpoint, f"docqa-{uuid4().hex[:8]}")
    assert await store.check() is None
    clients = SlowClients()
    uploads = clients.upload(store, 3)
    await clients.all_asked(2)

    await store.put(KEY, pieces(b"x"))

    assert clients.asked.locked()
    clients.told.set()
    await uploads
    assert len(await keys(store)) == 4


async def test_an_upload_that_finds_no_room_is_told_when_to_come_back(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "UPLOADS", 1)
    monkeypatch.setattr(s3_store, "PLACE_SECONDS", 0.05)
    store = s3_files(s3_endpoint, f"docqa-{uuid4().hex[:8]}")
    assert await store.check() is None
    clients = SlowClients()
    uploads = clients.upload(store, 1)
    await clients.all_asked(1)

    with pytest.raises(Transient) as told:
        await store.put(KEY, clients.source())

    assert told.value.retry_after == 0.05
    clients.told.set()
    await uploads
    await store.put(KEY, clients.source())


@pytest.mark.parametrize("end", ["broken", "cancelled"])
async def test_an_upload_that_breaks_off_leaves_no_parts_behind(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    store = s3_files(s3_endpoint, f"docqa-{uuid4().hex[:8]}")
    assert await store.check() is None
    waits = asyncio.Event()

    async def breaking_off() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield b"x" * (5 * MIB)
        if end == "broken":
            raise Broken
        waits.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(store.put(KEY, breaking_off()))
    if end == "cancelled":
        await waits.wait()
        upload.cancel()
    with pytest.raises((Broken, asyncio.CancelledError)):
        await upload

    monkeypatch.setattr(s3_store, "ABANDONED", timedelta(minutes=-5))  # clocks differ
    assert await store.sweep() == 0


async def test_a_store_that_wants_to_be_left_alone_is_not_waited_for_in_a_thread() -> None:
    async def answer(request: Request, reply: Reply) -> None:
        body = b"<Error><Code>SlowDownRead</Code></Error>"
        await reply.send(503, body, kind="application/xml", headers={"Retry-After": "60"})

    stub = HttpStub(answer)
    store = s3_files(stub.url.removeprefix("http://"), "docqa")
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Transient) as raised:
                await store.read(KEY, 0, 1)
    finally:
        stub.close()

    assert (raised.value.code, raised.value.retry_after) == ("storage.unavailable", 60)


async def test_a_bucket_that_keeps_versions_is_not_ready(s3_endpoint: str) -> None:
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    bucket = f"docqa-{uuid4().hex[:8]}"
    store = s3_files(s3_endpoint, bucket)
    assert await store.check() is None
    store._client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))

    assert "versioning" in (await store.check() or "")


async def test_a_missing_bucket_is_ours_to_put_right(s3_endpoint: str) -> None:
    store = s3_files(s3_endpoint, "docqa-missing")

    with pytest.raises(Misconfigured) as raised:
        await store.put(KEY, pieces(b"x"))
    assert raised.value.code == "storage.misconfigured"
    with pytest.raises(Misconfigured):
        await store.delete_prefix(OWNER)


async def test_a_store_that_is_away_is_transient(unused_port: int) -> None:
    store = s3_files(f"127.0.0.1:{unused_port}", "docqa")

    for attempt in (store.put(KEY, pieces(b"x")), store.stat(KEY), store.read(KEY, 0, 1), store.delete(KEY)):
        with pytest.raises(Transient) as raised:
            await attempt
        assert raised.value.code == "storage.unavailable"
    assert "does not answer" in (await store.check() or "")


async def test_whoever_finds_all_threads_busy_is_told_so_in_time(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.s3_files.THREAD_SECONDS", 0.1)
    monkeypatch.setattr("chassis.s3_files.READ_SECONDS", 1.0)
    monkeypatch.setattr("chassis.s3_files.RETRIES", 0)
    store = s3_files(f"127.0.0.1:{silent_port}", "docqa")
    busy = [asyncio.create_task(store.stat(KEY)) for _ in range(s3_store.THREADS)]
    await asyncio.sleep(0.05)
    for task in busy[:4]:
        task.cancel()  # its thread stays where it is
    await asyncio.sleep(0)

    began = asyncio.get_running_loop().time()
    with pytest.raises(Transient, match="does not get through"):
        await store.stat(KEY)
    assert asyncio.get_running_loop().time() - began < 0.8
    await asyncio.gather(*busy, return_exceptions=True)


async def test_uploads_in_parts_that_were_abandoned_are_swept(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"docqa-{uuid4().hex[:8]}"
    store = s3_files(s3_endpoint, bucket)
    await store.check()
    store._client._create_multipart_upload(bucket, KEY, {})
    monkeypatch.setattr("chassis.s3_files.ABANDONED", timedelta(days=365 * 100))  # moto's clock stands still in 2010
    assert await store.sweep() == 0

    monkeypatch.setattr("chassis.s3_files.ABANDONED", timedelta(minutes=-5))  # clocks differ
    assert await store.sweep() == 1
    assert await store.sweep() == 0


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


async def test_a_store_that_hangs_does_not_hang_us(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.s3_files.READ_SECONDS", 0.2)
    monkeypatch.setattr("chassis.s3_files.RETRIES", 0)
    store = s3_files(f"127.0.0.1:{silent_port}", "docqa")

    with pytest.raises(Transient):
        await store.stat(KEY)


def test_the_settings_choose_the_store(tmp_path: Path) -> None:
    assert isinstance(open_store(ObjectStoreSettings(object_store=f"file://{tmp_path}")), LocalFiles)
    s3 = ObjectStoreSettings(object_store="s3://docqa", s3_endpoint="minio:9000", s3_access_key="a", s3_secret_key="b")
    assert isinstance(open_store(s3), S3Files)
    with pytest.raises(Failure):
        open_store(ObjectStoreSettings(object_store="s3://docqa"))


async def test_a_folder_with_a_space_in_its_name_is_a_folder(tmp_path: Path) -> None:
    store = open_store(ObjectStoreSettings(object_store=f"file://{tmp_path}/my%20files"))
    await store.put(KEY, pieces(b"x"))

    assert (tmp_path / "my files" / KEY).read_bytes() == b"x"


def test_who_keeps_files_in_a_folder_does_not_load_the_s3_client() -> None:
    code = (
        "import sys, chassis.web, chassis.identity; from chassis.objects import open_store; "
        "from chassis.settings import ObjectStoreSettings; open_store(ObjectStoreSettings(object_store='file:///x')); "
        "print([name for name in ('minio', 'opentelemetry.sdk', 'alembic') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_threads_are_bounded(tmp_path: Path) -> None:
    async def many() -> int:
        store = LocalFiles(tmp_path / "objects")
        await asyncio.gather(*(store.stat(f"a/{number}") for number in range(50)))
        return sum(thread.name.startswith("objects") for thread in threading.enumerate())

    before = sum(thread.name.startswith("objects") for thread in threading.enumerate())
    assert asyncio.run(many()) - before <= 4

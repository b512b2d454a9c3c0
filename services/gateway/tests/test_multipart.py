"""The push parser, pulled: however the body is cut, the parts are the same."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from gateway.intake import Intake, Limits, Received
from gateway.multipart import MalformedBody, Multipart, PartHead, boundary_of

BODY = (
    b"--xyz\r\n"
    b'Content-Disposition: form-data; name="files"; filename="a;b.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\n"
    b"first\r\n--xy line\r\n"
    b"\r\n--xyz\r\n"
    b'Content-Disposition: form-data; name="note"\r\n\r\n'
    b"second"
    b"\r\n--xyz--\r\n"
)


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def read(form: Multipart) -> list[tuple[PartHead, bytes]]:
    parts = []
    while (head := await form.next_part()) is not None:
        parts.append((head, b"".join([piece async for piece in form.data()])))
    return parts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 64, 10_000])
async def test_however_the_body_is_cut_the_parts_are_the_same(size: int) -> None:
    parts = await read(Multipart(pieces(BODY, size), b"xyz"))

    assert parts == [
        (PartHead("files", "a;b.txt", "text/plain"), b"first\r\n--xy line\r\n"),
        (PartHead("note", None, ""), b"second"),
    ]


async def test_however_a_file_is_cut_it_is_judged_the_same() -> None:
    """Text as far as one looks, and noise behind it."""
    content = b"words " * 1400 + bytes(range(256)) * 150
    body = BODY.replace(b"first\r\n--xy line\r\n", content)

    kept = [await intake(pieces(body, size)) for size in (100, 4096, 65536, 10**6)]

    assert kept == [True] * 4


async def intake(body: AsyncIterator[bytes]) -> bool:
    """Whether the first part is taken."""
    receiving = Intake(owner=uuid4(), limits=Limits(max_file_bytes=10**6, max_files=2), store=None)
    part, _ = await receiving.receive(Multipart(body, b"xyz"))
    return isinstance(part.outcome, Received)


async def test_what_follows_the_last_boundary_is_read_and_forgotten() -> None:
    body = pieces(BODY + b"epilogue" * 100, 50)

    assert len(await read(Multipart(body, b"xyz"))) == 2
    assert await anext(body, None) is None


async def test_an_unread_part_is_skipped() -> None:
    form = Multipart(pieces(BODY, 5), b"xyz")
    heads = []
    while (head := await form.next_part()) is not None:
        heads.append(head.name)

    assert heads == ["files", "note"]
    assert await form.next_part() is None


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"filename=\"=?utf-8?B?w6QudHh0?=\"; filename*=utf-8''%C3%A4.txt", "ä.txt"),  # .NET
        (b"filename*=UTF-8'de'%c3%a4%20%2522.txt", "ä %22.txt"),  # older urllib3
        (b"filename=a.txt; filename*=utf-8''%E4.txt", "a.txt"),
        (b"filename=a.txt; filename*=utf-8''", "a.txt"),
        (b"filename=\"a; filename*=utf-8''b.txt\"", "a; filename*=utf-8''b.txt"),
    ],
)
async def test_a_name_may_come_in_the_extended_notation(sent: bytes, name: str) -> None:
    body = BODY.replace(b'filename="a;b.txt"', sent)

    (head, _), _ = await read(Multipart(pieces(body, 64), b"xyz"))

    assert (head.name, head.filename) == ("files", name)


@pytest.mark.parametrize("cut", [3, 30, 100, 130, 160, len(BODY) - 6])
async def test_a_body_that_ends_too_early_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedBody, match="before its closing boundary"):
        await read(Multipart(pieces(BODY[:cut], 10), b"xyz"))


@pytest.mark.parametrize("body", [b"no boundary at all", b"--xyz junk", b"--xyz\r\nno colon here\r\n\r\nx\r\n--xyz--"])
async def test_a_broken_body_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        await read(Multipart(pieces(body, 4), b"xyz"))


async def test_headers_without_end_are_refused() -> None:
    body = b"--xyz\r\nX-Long: " + b"a" * 20_000

    with pytest.raises(MalformedBody, match="headers are broken"):
        await read(Multipart(pieces(body, 100), b"xyz"))


@pytest.mark.parametrize("boundary", [b"", b"b" * 1000])
def test_a_boundary_that_is_none_is_refused(boundary: bytes) -> None:
    with pytest.raises(MalformedBody, match="boundary"):
        Multipart(pieces(b"", 1), boundary)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=xyz", b"xyz"),
        ('multipart/form-data; boundary="x y z"', b"x y z"),
        ("Multipart/Form-Data; BOUNDARY=xyz", b"xyz"),
        ("multipart/form-data", b""),
        ("application/json", None),
        ("", None),
    ],
)
def test_the_boundary_is_read_from_the_type(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary

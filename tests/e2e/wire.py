"""HTTP by hand, for requests that no client would send."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.e2e.person import Person

BOUNDARY = "a-boundary"
PATIENCE = 30.0


@dataclass(frozen=True)
class Raw:
    """What came back, as it came."""

    status: int
    text: str


def part(content: bytes, *, filename: str = "a.txt", name: str = "files", kind: str = "text/plain") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}'
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def upload_head(person: Person, *lines: str) -> bytes:
    """The head of an upload of hers, with headers of one's own."""
    own = [
        "POST /api/upload HTTP/1.1",
        "Host: docqa",
        f"Authorization: {person.http.headers['Authorization']}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
    ]
    return "\r\n".join([*own, *lines, "", ""]).encode()


async def says(url: str, *pieces: bytes, cut: bool = False) -> Raw | None:
    """Send the pieces, and read the answer; with `cut`, leave without one."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        async with asyncio.timeout(PATIENCE):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if cut:
                return None
            head = await reader.readuntil(b"\r\n\r\n")
            body = await _body(reader, head)
            return Raw(int(head.split(b" ", 2)[1]), body.decode())
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    lines = head.lower().split(b"\r\n")
    for line in lines:
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.partition(b":")[2]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    return body

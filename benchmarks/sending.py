"""A large upload as a client sends it that is not the bottleneck: one socket, prepared bytes."""

import asyncio
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from urllib.parse import urlsplit

from benchmarks import documents

BOUNDARY = "docqa-benchmark-boundary"
PIECE = 1024 * 1024


@dataclass(frozen=True)
class Large:
    """A PDF of one page and a long comment: it is quickly read, for what is received is to be seen."""

    seed: int
    megabytes: int

    @cached_property
    def page(self) -> tuple[bytes, bytes]:
        """Everything up to the comment, and where a reader begins: the end of the file."""
        objects, begin, end = documents.pdf(self.seed, pages=1).content.rpartition(b"startxref")
        return objects + b"%", b"\n" + begin + end

    @property
    def head(self) -> bytes:
        disposition = f'form-data; name="files"; filename="large-{self.seed}.pdf"'
        part = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: application/pdf\r\n\r\n"
        return part.encode() + self.page[0]

    @property
    def tail(self) -> bytes:
        return self.page[1] + f"\r\n--{BOUNDARY}--\r\n".encode()

    @property
    def size(self) -> int:
        return len(self.head) + self.megabytes * PIECE + len(self.tail)


@dataclass(frozen=True)
class Sent:
    """Seconds from the first byte sent to the first line of the answer, and the answer's body."""

    seconds: float
    body: bytes


async def send(url: str, large: Large, *, token: str = "") -> Sent:
    """Raises AssertionError unless the answer is a 202."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    filling = b"0123456789abcdef" * (PIECE // 16)
    head = (
        f"POST /api/upload HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {large.size}\r\n"
        "Connection: close\r\n\r\n"
    )
    began = perf_counter()
    writer.write(head.encode() + large.head)
    for _ in range(large.megabytes):
        writer.write(filling)
        await writer.drain()
    writer.write(large.tail)
    await writer.drain()
    status = (await reader.readline()).decode()
    took = perf_counter() - began
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if " 202 " not in status:
        raise AssertionError(f"the upload was answered with {status.strip()}")
    return Sent(took, body)

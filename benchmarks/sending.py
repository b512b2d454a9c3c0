"""A large upload as a client sends it that is not the bottleneck: one socket, prepared bytes."""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import urlsplit

BOUNDARY = "docqa-benchmark-boundary"
PIECE = 1024 * 1024


@dataclass(frozen=True)
class Large:
    """A PDF by its first bytes, and nothing but filling: what is received is to be seen, not what is read."""

    seed: int
    megabytes: int

    @property
    def head(self) -> bytes:
        disposition = f'form-data; name="files"; filename="large-{self.seed}.pdf"'
        part = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: application/pdf\r\n\r\n"
        return part.encode() + f"%PDF-1.4\n% {self.seed}\n".encode()

    @property
    def tail(self) -> bytes:
        return f"\r\n--{BOUNDARY}--\r\n".encode()

    @property
    def size(self) -> int:
        return len(self.head) + self.megabytes * PIECE + len(self.tail)


async def send(url: str, large: Large, *, token: str = "") -> float:
    """Seconds until the answer. Raises AssertionError unless it is a 202."""
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
    writer.close()
    if " 202 " not in status:
        raise AssertionError(f"the upload was answered with {status.strip()}")
    return took

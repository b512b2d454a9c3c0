"""Asks an HTTP server on this machine how it is: one request, without a client library's weight."""

import asyncio
from contextlib import closing
from urllib.parse import urlsplit

PATIENCE = 5.0
MOST = 64 * 1024


async def ask(url: str) -> tuple[int, str] | None:
    """Status and body; None if nobody answers in time, or not in HTTP."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            with closing(writer):
                request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read(MOST)
                while len(answer) < MOST and (more := await reader.read(MOST)):
                    answer += more
        head, _, body = answer.decode("utf-8", errors="replace").partition("\r\n\r\n")
        return int(head.split(" ", 2)[1]), body
    except (OSError, TimeoutError, ValueError, IndexError):
        return None


async def is_well(url: str) -> bool:
    """Whether it answers with a 2xx."""
    answer = await ask(url)
    return answer is not None and 200 <= answer[0] < 300

"""An upload received as fast as can be: multipart parsed as it comes, written to a file, synced.

As a process of its own: `python -m benchmarks.bare.receiving FOLDER`; it prints its port.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import BinaryIO

from python_multipart import MultipartParser
from python_multipart.multipart import parse_options_header

ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
PIECE = 1024 * 1024


async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Path) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    _, options = parse_options_header(headers["content-type"])
    left = int(headers["content-length"])
    with target.open("wb") as file:
        parser = MultipartParser(options[b"boundary"], {"on_part_data": lambda *part: _write(file, *part)})
        while left:
            piece = await reader.read(min(PIECE, left))
            parser.write(piece)
            left -= len(piece)
        file.flush()
        os.fsync(file.fileno())
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


def _write(file: BinaryIO, data: bytes, start: int, end: int) -> None:
    file.write(memoryview(data)[start:end])


async def serve(folder: Path) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: receive(reader, writer, folder / "received"), "127.0.0.1", 0, limit=PIECE
    )
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - whoever starts it reads it
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))

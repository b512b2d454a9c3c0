"""A document from its bytes to what can be asked about, step by step in one script."""

import asyncio
import io
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import asyncpg
import chromadb
import pypdfium2  # type: ignore[import-untyped]
from chromadb.api import ClientAPI
from chromadb.config import Settings
from langchain_openai import OpenAIEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter
from messaging.listening import connect_options
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.documents import File
from benchmarks.provider import DIMENSION, KEY, MODEL
from benchmarks.stands import Stand

TEXTS_A_CALL = 64
CALLS_IN_FLIGHT = 8
VECTORS_AN_UPSERT = 500
CHUNK, OVERLAP = 1000, 150  # as ingest splits by default

_TABLES = """
CREATE TABLE documents (id text PRIMARY KEY, filename text NOT NULL, sha256 text NOT NULL);
CREATE TABLE passages (
    document_id text NOT NULL, ordinal int NOT NULL, page int, text text NOT NULL, PRIMARY KEY (document_id, ordinal));
"""


@dataclass(frozen=True)
class Piece:
    """A chunk; `page` is 0 in a text file."""

    page: int
    text: str


class Pipeline:
    """Opened once; `bring` is what is timed. A fresh collection for each, so that none is slower than the last."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._folder = stand.stack.data / "bare"
        self._splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK, chunk_overlap=OVERLAP)
        self.embeddings = OpenAIEmbeddings(
            model=MODEL,
            dimensions=DIMENSION,
            openai_api_key=SecretStr(KEY),
            openai_api_base=stand.provider.base_url,
            chunk_size=TEXTS_A_CALL,
            check_embedding_ctx_length=False,
        )
        self.client = open_chroma(stand.stack.addresses.chroma_url)
        self.collection = self.fresh_collection()
        self._database: asyncpg.Connection[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        server = self._stand.stack.postgres
        assert server is not None
        name = f"bare_{uuid4().hex[:8]}"
        await server.create_role("bare")
        await server.create_database(name, owner="bare")
        options = connect_options(create_async_engine(server.url(name, "bare")))
        self._database = await asyncpg.connect(**options)
        await self._database.execute(_TABLES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            await self._database.close()

    def fresh_collection(self) -> chromadb.Collection:
        """Empty, for cosine, and the one that is written to from now on."""
        self.collection = self.client.create_collection(
            f"bare-{uuid4().hex}", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        return self.collection

    async def bring(self, file: File) -> int:
        """Store, note, parse, split, embed, upsert, copy; gives the number of chunks."""
        document = uuid4().hex
        await self._store(document, file)
        pieces = self._split(file)
        vectors = await self._embed(pieces)
        self._upsert(document, pieces, vectors)
        await self._copy(document, pieces)
        return len(pieces)

    async def _store(self, document: str, file: File) -> None:
        _write(self._folder / document, file.content)
        digest = sha256(file.content).hexdigest()
        assert self._database is not None
        await self._database.execute("INSERT INTO documents VALUES ($1, $2, $3)", document, file.name, digest)

    def _split(self, file: File) -> list[Piece]:
        pages = _pdf_pages(file.content) if file.media_type == "application/pdf" else [file.content.decode()]
        first = 1 if file.media_type == "application/pdf" else 0
        return [
            Piece(number, text) for number, page in enumerate(pages, first) for text in self._splitter.split_text(page)
        ]

    async def _embed(self, pieces: list[Piece]) -> list[list[float]]:
        places = asyncio.Semaphore(CALLS_IN_FLIGHT)

        async def call(texts: list[str]) -> list[list[float]]:
            async with places:
                return await self.embeddings.aembed_documents(texts)

        texts = [piece.text for piece in pieces]
        calls = [call(texts[start : start + TEXTS_A_CALL]) for start in range(0, len(texts), TEXTS_A_CALL)]
        return [vector for answer in await asyncio.gather(*calls) for vector in answer]

    def _upsert(self, document: str, pieces: list[Piece], vectors: list[list[float]]) -> None:
        for start in range(0, len(pieces), VECTORS_AN_UPSERT):
            some = range(start, min(start + VECTORS_AN_UPSERT, len(pieces)))
            many: Any = [vectors[place] for place in some]
            self.collection.upsert(
                ids=[f"{document}:{place}" for place in some],
                embeddings=many,
                metadatas=[{"owner": "bare", "document": document, "page": pieces[place].page} for place in some],
            )

    async def _copy(self, document: str, pieces: list[Piece]) -> None:
        assert self._database is not None
        rows = [(document, place, piece.page or None, piece.text) for place, piece in enumerate(pieces)]
        await self._database.copy_records_to_table("passages", records=rows)


def open_chroma(url: str) -> ClientAPI:
    """Chroma's own client."""
    host, _, port = url.removeprefix("http://").partition(":")
    return chromadb.HttpClient(host=host, port=int(port), settings=Settings(anonymized_telemetry=False))


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _pdf_pages(content: bytes) -> list[str]:
    document = pypdfium2.PdfDocument(io.BytesIO(content))
    try:
        return [str(page.get_textpage().get_text_range()) for page in document]
    finally:
        document.close()

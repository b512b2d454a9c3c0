"""The chunks files of a document in the object store."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.objects import ObjectStore
from contracts.objects import chunks_key, document_prefix

_KEY = re.compile(
    r"users/(?P<owner>[0-9a-f-]{36})/documents/(?P<document>[0-9a-f-]{36})"
    r"/v(?P<version>[0-9]+)/chunks\.(?P<attempt>[0-9]+)\.jsonl"
)


@dataclass(frozen=True)
class ChunksFile:
    """Each attempt has written its own; the one that a `SplitVersion` names is read."""

    owner: UUID
    document: UUID
    version: int
    attempt: int
    modified: datetime

    @property
    def key(self) -> str:
        return chunks_key(self.owner, self.document, self.version, self.attempt)


async def chunk_files(store: ObjectStore, prefix: str) -> AsyncIterator[ChunksFile]:
    """Every chunks file below a prefix; what lies beside them is the gateway's."""
    async for found in store.list(prefix):
        if match := _KEY.fullmatch(found.key):
            yield ChunksFile(
                owner=UUID(match["owner"]),
                document=UUID(match["document"]),
                version=int(match["version"]),
                attempt=int(match["attempt"]),
                modified=found.modified,
            )


async def erase_files(
    store: ObjectStore, owner: UUID, document: UUID, doomed: Callable[[ChunksFile], bool] = lambda _: True
) -> int:
    """Erase the document's chunks files, or those that are doomed. Gives how many there were."""
    files = [file async for file in chunk_files(store, document_prefix(owner, document)) if doomed(file)]
    return sum([await store.delete(file.key) for file in files])

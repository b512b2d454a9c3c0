"""How vectors are named and where they lie: the embedder writes them, qa reads them."""

from hashlib import sha256
from uuid import UUID

# The metadata of a vector: what is filtered by, and no more (docs/decisions/0094).
OWNER = "owner"
DOCUMENT = "document"
VERSION = "version"


def chunk_id(document: UUID, version: int, ordinal: int) -> str:
    """The id of a chunk and of its vector: doing the same work again overwrites it."""
    return f"{document}:{version}:{ordinal}"


def shard_of(owner: UUID, shards: int) -> int:
    """The shard, 0 to shards - 1, that holds everything of an owner; the same in every process and release."""
    return int.from_bytes(sha256(owner.bytes).digest()[:8], "big") % shards


def collection_name(index_id: str, shard: int) -> str:
    return f"{index_id}-{shard:03d}"

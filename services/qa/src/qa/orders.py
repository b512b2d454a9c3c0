"""What qa's jobs carry beside the document, its version and its owner."""

from messaging.orders import AskedOrder


class IndexOrder(AskedOrder):
    """The chunks file to be read (its attempt and digest), and the indexes that have the vectors."""

    attempt: int
    chunk_count: int
    pages: int | None
    chunks_sha256: str
    indexes: tuple[str, ...]

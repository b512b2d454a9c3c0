"""What qa's jobs carry beside the document, its version and its owner."""

from messaging.orders import AskedOrder, Order


class CopyOrder(Order):
    """The chunks file to be read: its attempt, its digest, and how much is in it."""

    attempt: int
    chunk_count: int
    chunks_sha256: str


class IndexOrder(CopyOrder, AskedOrder):
    """The same, and the indexes that have the vectors."""

    pages: int | None
    indexes: tuple[str, ...]

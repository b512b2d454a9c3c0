"""What the embedder's jobs carry beside the document, its version and its owner."""

from messaging.orders import Order


class RebuildOrder(Order):
    """The index that the document's vectors are to be written to."""

    index_id: str

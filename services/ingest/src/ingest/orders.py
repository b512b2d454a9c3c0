"""What ingest's jobs carry beside the document, its version and its owner."""

from messaging.orders import AskedOrder


class ParseOrder(AskedOrder):
    """`sha256` is that of the bytes that were accepted."""

    sha256: str

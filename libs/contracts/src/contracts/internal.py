"""What the services say to each other over HTTP; none of it can be reached from outside."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

from pydantic import Field, SecretStr

from contracts.fields import Request, Response
from contracts.questions import AskRequest, SearchRequest

EXCLUDED_HEADER = "Docqa-Excluded"
"""The owner's documents that are being deleted and not yet erased by qa: hidden from retrieval, history and chats."""
LIVE_VERSION_HEADER = "Docqa-Live-Version"
"""The version of a document that the gateway knows to answer."""

_ID_BYTES = 16


def encode_excluded(ids: Iterable[UUID]) -> str:
    """The ids as one short header value: 22 characters each."""
    return urlsafe_b64encode(b"".join(document.bytes for document in ids)).rstrip(b"=").decode()


def decode_excluded(value: str) -> frozenset[UUID]:
    """Read it again. Raises ValueError if it is not such a value."""
    try:
        packed = urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except NotBase64:
        raise ValueError(f"{EXCLUDED_HEADER} is not base64") from None
    if len(packed) % _ID_BYTES:
        raise ValueError(f"{EXCLUDED_HEADER} does not hold whole ids")
    return frozenset(UUID(bytes=packed[at : at + _ID_BYTES]) for at in range(0, len(packed), _ID_BYTES))


class ForwardedAsk(AskRequest):
    """A question with the versions that the gateway knows to answer, by document."""

    live_versions: dict[UUID, int] = Field(default_factory=dict)


class ForwardedSearch(SearchRequest):
    """A search with the versions that the gateway knows to answer, by document."""

    live_versions: dict[UUID, int] = Field(default_factory=dict)


class ExchangeKeyRequest(Request):
    """`POST /internal/keys/exchange` at auth."""

    key: Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class ExchangedToken(Response):
    """A short-lived access token for the holder of an API key; `expires_in` in seconds."""

    access_token: str
    expires_in: int


class BuildIndexRequest(Request):
    """`POST /internal/indexes` at the embedder; without a model, the active one is rebuilt from its stored vectors.

    `dimension` is how many numbers a vector is to have, where the model's own is not known or not wanted.
    """

    model: str | None = None
    dimension: Annotated[int, Field(ge=1)] | None = None


class IndexBuild(Response):
    """An index as its operator sees it: `done` of `total` chunks are in it.

    Its model refuses texts of `refused` documents: it cannot answer as long as these are there.
    """

    index_id: str
    generation: int
    model: str
    dimension: int
    state: str
    done: int
    total: int
    refused: int = 0


class IndexBuilds(Response):
    """`GET /internal/indexes`, the newest first."""

    items: list[IndexBuild]

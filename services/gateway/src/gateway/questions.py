"""What the gateway adds to a question: which documents are hidden, and which versions answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from chassis.problems import unavailable
from chassis.transactions import Driver, Transactions
from contracts.internal import EXCLUDED_HEADER, ForwardedAsk, ForwardedSearch, encode_excluded
from contracts.questions import AskRequest, SearchRequest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.documents import live_versions
from gateway.owners import AccountClosed
from gateway.tables import HIDDEN_SQL

MOST_HIDDEN = 2000  # 22 characters each: servers take 64 KiB of headers

Asked = TypeVar("Asked", AskRequest, SearchRequest)

# One indexed read with every question, and normally nothing is found.
_HIDDEN = f"""
    SELECT (SELECT closed_at IS NOT NULL FROM owners WHERE id = $1) AS closed,
           (SELECT array_agg(document_id) FROM deletions WHERE owner_id = $1 AND {HIDDEN_SQL}) AS hidden
"""  # noqa: S608 - a constant of ours


@dataclass(frozen=True)
class Prepared:
    """A body to forward, and the headers that go with it."""

    body: bytes
    headers: dict[str, str]


class PrepareQuestion:
    """Reads what it must understand of a request for qa. Raises `AccountClosed`."""

    def __init__(self, *, transactions: Transactions) -> None:
        self._transactions = transactions

    async def hidden(self, owner: UUID) -> dict[str, str]:
        """The header that goes with every request to qa: what is being deleted and not yet erased there."""
        async with self._transactions.driver() as driver:
            return await _hidden(driver, owner)

    async def ask(self, owner: UUID, body: bytes) -> Prepared:
        """422 for a bad body; raises `DocumentNotFound` and `DocumentNotReady` for what it names."""
        asked = await self._parsed(owner, AskRequest, body)
        headers, live = await self._look(owner, asked.document_ids)
        return Prepared(
            ForwardedAsk.model_construct(**dict(asked), live_versions=live).model_dump_json().encode(), headers
        )

    async def search(self, owner: UUID, body: bytes) -> Prepared:
        """The same for a search."""
        asked = await self._parsed(owner, SearchRequest, body)
        headers, live = await self._look(owner, asked.document_ids)
        return Prepared(
            ForwardedSearch.model_construct(**dict(asked), live_versions=live).model_dump_json().encode(), headers
        )

    async def _parsed(self, owner: UUID, model: type[Asked], body: bytes) -> Asked:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            mistakes = [_located(mistake) for mistake in error.errors(include_url=False)]
        await self.hidden(owner)  # whose account is closed hears that, and nothing else
        raise RequestValidationError(mistakes)

    async def _look(self, owner: UUID, documents: Sequence[UUID] | None) -> tuple[dict[str, str], dict[UUID, int]]:
        async with self._transactions.driver() as driver:
            headers = await _hidden(driver, owner)
            return headers, await live_versions(driver, owner, documents) if documents else {}


async def _hidden(driver: Driver, owner: UUID) -> dict[str, str]:
    [(closed, hidden)] = await driver.fetch(_HIDDEN, owner)
    if closed:
        raise AccountClosed(owner)
    if hidden and len(hidden) > MOST_HIDDEN:
        raise unavailable("So many documents are being deleted that nothing can be asked at the moment.")
    return {EXCLUDED_HEADER: encode_excluded(hidden)} if hidden else {}


def _located(mistake: ErrorDetails) -> dict[str, Any]:
    """As if FastAPI had read the body; its words are made by the edge, which repeats nothing of the input."""
    return {**mistake, "loc": ("body", *mistake["loc"])}

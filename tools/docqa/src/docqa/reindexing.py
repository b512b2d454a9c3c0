"""`docqa reindex`: drops and rebuilds the index of a running docqa, which goes on answering meanwhile."""

import os
import time
from pathlib import Path
from typing import Any, TypeVar

import httpx
from contracts.internal import BuildIndexRequest, IndexBuild, IndexBuilds
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from docqa.client import refusal
from docqa.data_folder import RunningStack
from docqa.failing import PlainError, ServerAway

ACTIVE = "active"
MODEL_SETTING = "DOCQA_EMBEDDING_MODEL"
LOOK_EVERY = 0.3
AWAY_FOR = 60.0  # an embedder that is restarted goes on where it was

ModelT = TypeVar("ModelT", bound=BaseModel)


class _Started(BaseModel):
    """What matters of the answer: the index to follow."""

    index_id: str


def reindex(model: str | None, *, embedder_url: str | None, data: Path, console: Console) -> None:
    """Returns when the new index answers. Without a model: the active one's, from stored vectors, no provider asked."""
    url, token = _embedder(embedder_url, data)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
        index_id = _call(http, "POST", _Started, json=BuildIndexRequest(model=model).model_dump()).index_id
        index = _follow(http, index_id, console)
    console.print(f"Done: {index.total} chunks with {index.model}, generation {index.generation}.", highlight=False)
    if model is not None and os.environ.get(MODEL_SETTING, "local") != model:
        console.print(f"Start docqa with {MODEL_SETTING}={model} from now on, for example in .env.", highlight=False)


def _embedder(given_url: str | None, data: Path) -> tuple[str, str]:
    token = os.environ.get("DOCQA_OPERATOR_TOKEN")
    if given_url:
        if not token:
            raise PlainError("Set DOCQA_OPERATOR_TOKEN to the one that the embedder was given.")
        return given_url, token
    stack = RunningStack.find(data)
    return stack.services["embedder"], token or stack.operator_token


def _follow(http: httpx.Client, index_id: str, console: Console) -> IndexBuild:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    answered_at = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("rebuilding", total=None)
        while True:
            try:
                found = {index.index_id: index for index in _call(http, "GET", IndexBuilds).items}
            except ServerAway:
                if time.monotonic() - answered_at > AWAY_FOR:
                    raise
            else:
                answered_at = time.monotonic()
                index = found.get(index_id)
                if index is None:
                    raise PlainError("The index that was being built is gone: another rebuild took its place.")
                progress.update(bar, completed=index.done, total=index.total, description=index.state)
                if index.state == ACTIVE:
                    return index
            time.sleep(LOOK_EVERY)


def _call(http: httpx.Client, method: str, kind: type[ModelT], **arguments: Any) -> ModelT:
    try:
        response = http.request(method, "/internal/indexes", **arguments)
    except httpx.TransportError as error:
        raise ServerAway(str(http.base_url), str(error) or type(error).__name__) from None
    if not response.is_success:
        raise refusal(response.status_code, response.content)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError:
        raise PlainError(f"{response.url} is not an embedder of this release.") from None

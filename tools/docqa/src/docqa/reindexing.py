"""`docqa reindex`: rebuilds the index of a running docqa, which goes on answering meanwhile, or calls that off."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from contracts.internal import BuildIndexRequest, IndexBuild, IndexBuilds
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from docqa.client import refusal, secret_in
from docqa.data_folder import RunningStack
from docqa.failing import EmbedderAway, PlainError

INDEXES = "/internal/indexes"
ACTIVE, RETIRED = "active", "retired"
MODEL_SETTING, DIMENSION_SETTING = "DOCQA_EMBEDDING_MODEL", "DOCQA_EMBEDDING_DIMENSION"
LOOK_EVERY = 0.3
AWAY_FOR = 60.0  # an embedder that is restarted goes on where it was

ModelT = TypeVar("ModelT", bound=BaseModel)


class _Started(BaseModel):
    """What matters of the answer: the index to follow."""

    index_id: str


@contextmanager
def embedder(given_url: str | None, data: Path) -> Iterator[httpx.Client]:
    """The way to the embedder, as its operator: to the one given, or to that of the stack on this data folder."""
    url, token = _address(given_url, data)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        http = httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise PlainError(
            f"{url} is no address ({error}). Say with --embedder-url where the embedder listens."
        ) from None
    with http:
        yield http


def reindex(http: httpx.Client, model: str | None, *, dimension: int | None, console: Console) -> None:
    """Returns when the new index answers. Without a model: the active one's, from stored vectors, no provider asked."""
    asked = BuildIndexRequest(model=model, dimension=dimension).model_dump(exclude_none=True)
    index_id = _call(http, "POST", INDEXES, _Started, json=asked).index_id
    index = _follow(http, index_id, console)
    console.print(f"Done: {index.total} chunks with {index.model}, generation {index.generation}.", highlight=False)
    if asked:
        _tell_settings(index, asked, console)


def call_off(http: httpx.Client, console: Console) -> None:
    """Call off what is being built: the index that answers goes on."""
    for index in _call(http, "DELETE", f"{INDEXES}/building", IndexBuilds).items:
        console.print(f"Called off: {index.model}, generation {index.generation}.", highlight=False)


def _tell_settings(index: IndexBuild, asked: Mapping[str, object], console: Console) -> None:
    """What docqa must be started with so that it takes this index for its own, unless it is."""
    settings = {MODEL_SETTING: index.model}
    if "dimension" in asked or DIMENSION_SETTING in os.environ:
        settings[DIMENSION_SETTING] = str(index.dimension)
    now = {MODEL_SETTING: "local", **os.environ}
    if any(now.get(name) != value for name, value in settings.items()):
        told = " ".join(f"{name}={value}" for name, value in settings.items())
        console.print(f"Start docqa with {told} from now on, for example in .env.", highlight=False)


def _address(given_url: str | None, data: Path) -> tuple[str, str]:
    token = secret_in("DOCQA_OPERATOR_TOKEN", "an operator's token")
    if given_url:
        if not token:
            raise PlainError("Set DOCQA_OPERATOR_TOKEN to the one that the embedder was given.")
        return given_url, token
    stack = RunningStack.find(data)
    return stack.services["embedder"], token or stack.operator_token


def _follow(http: httpx.Client, index_id: str, console: Console) -> IndexBuild:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    refused = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("rebuilding", total=None)
        for index in _looks(http, index_id):
            progress.update(bar, completed=index.done, total=index.total, description=index.state)
            if index.refused > refused:
                _tell_refused(index, console)
            refused = index.refused
            if index.state == ACTIVE:
                return index
    raise PlainError("The index that was being built is gone: it was called off, or another took its place.")


def _looks(http: httpx.Client, index_id: str) -> Iterator[IndexBuild]:
    """The index, look by look, until it is gone. An embedder that is away is waited for."""
    answered_at = time.monotonic()
    while True:
        try:
            found = {index.index_id: index for index in _call(http, "GET", INDEXES, IndexBuilds).items}
        except EmbedderAway:
            if time.monotonic() - answered_at > AWAY_FOR:
                raise
        else:
            answered_at = time.monotonic()
            index = found.get(index_id)
            if index is None or index.state == RETIRED:
                return
            yield index
        time.sleep(LOOK_EVERY)


def _tell_refused(index: IndexBuild, console: Console) -> None:
    console.print(
        f"{index.model} refuses the text of {index.refused} documents. Until it takes them, or they are deleted, the "
        "index cannot answer; docqa reindex --cancel calls it off.",
        highlight=False,
        soft_wrap=True,
    )


def _call(http: httpx.Client, method: str, path: str, kind: type[ModelT], **arguments: Any) -> ModelT:
    try:
        response = http.request(method, path, **arguments)
    except httpx.RequestError as error:
        raise EmbedderAway(str(http.base_url), str(error) or type(error).__name__) from None
    if not response.is_success:
        raise refusal(response.status_code, response.content)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError:
        raise PlainError(f"{response.url} is not an embedder of this release.") from None

"""docqa's HTTP API as the person who is logged in: tokens refreshed when they expire, problems told in plain words."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from contracts.accounts import Tokens
from contracts.documents import UploadProblem
from pydantic import BaseModel, ValidationError

from docqa.credentials import Credentials, Login, server_url
from docqa.failing import NotLoggedIn, PlainError, ServerAway, ServerRefused
from docqa.sse import Event, events

# An answer may take its model's time; heartbeats come every 15 s on streams.
PATIENCE = httpx.Timeout(10, read=200, write=60)
EXPIRED = "auth.token_expired"
EVENTS = "text/event-stream"

ModelT = TypeVar("ModelT", bound=BaseModel)
Body = Callable[[], Mapping[str, Any]]


class Client:
    """`get`, `post` and `stream` raise `ServerRefused` for every answer that is an error."""

    def __init__(self, url: str | None = None, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials()
        self.url = url or server_url(self._credentials)
        self._api_key = secret_in("DOCQA_API_KEY", "an API key")
        try:
            self._http = httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=not _is_local(self.url))
        except (httpx.InvalidURL, UnicodeError) as error:
            raise PlainError(f"{self.url} is no address ({error}). Set DOCQA_URL to where docqa runs.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, kind: type[ModelT], **parameters: Any) -> ModelT:
        return self._answer("GET", path, kind, lambda: {"params": parameters})

    def post(self, path: str, kind: type[ModelT], body: Body) -> ModelT:
        """`body` gives httpx's arguments (`json=`, `files=`); asked again if the call is made again."""
        return self._answer("POST", path, kind, body)

    def authenticate(self, path: str, body: Mapping[str, Any]) -> Tokens:
        """Login or signup; keeps the tokens."""
        tokens = _parse(Tokens, self._open("POST", path, dict(body), token=None))
        with self._credentials.locked():
            self._credentials.keep(self.url, _login_of(tokens), entered=True)
        return tokens

    @contextmanager
    def stream(self, method: str, path: str, body: Body = dict) -> Iterator[Iterator[Event]]:
        """The events of a stream. Its own `error` events are given like the others."""
        token = self._token()
        with ExitStack() as opened:
            try:
                response = opened.enter_context(self._streaming(method, path, body, token))
            except ServerRefused as refused:
                if refused.code != EXPIRED or self._api_key:
                    raise
                response = opened.enter_context(self._streaming(method, path, body, self._refreshed(token)))
            yield events(response.iter_lines())

    @contextmanager
    def _streaming(self, method: str, path: str, body: Body, token: str) -> Iterator[httpx.Response]:
        headers = {"Authorization": f"Bearer {token}", "Accept": EVENTS}
        with self._told(), self._http.stream(method, path, headers=headers, **body()) as response:
            if not response.is_success:
                response.read()
            _raise_for_problem(response)
            if not response.headers.get("content-type", "").startswith(EVENTS):
                raise _not_understood(response)
            yield response

    def _answer(self, method: str, path: str, kind: type[ModelT], body: Body) -> ModelT:
        token = self._token()
        try:
            response = self._open(method, path, body(), token=token)
        except ServerRefused as refused:
            if refused.code != EXPIRED or self._api_key:
                raise
            response = self._open(method, path, body(), token=self._refreshed(token))
        return _parse(kind, response)

    def _open(self, method: str, path: str, arguments: Mapping[str, Any], *, token: str | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with self._told():
            response = self._http.request(method, path, headers=headers, **arguments)
        _raise_for_problem(response)
        return response

    def _token(self) -> str:
        if self._api_key:
            return self._api_key
        login = self._credentials.of(self.url)
        if login is None:
            raise NotLoggedIn(self.url)
        return login.access_token

    def _refreshed(self, spent: str) -> str:
        """A new access token. Under a lock, and only if no other command has refreshed it meanwhile."""
        with self._credentials.locked():
            login = self._credentials.of(self.url)
            if login is None:
                raise NotLoggedIn(self.url)
            if login.access_token != spent:
                return login.access_token
            try:
                body = {"json": {"refresh_token": login.refresh_token}}
                tokens = _parse(Tokens, self._open("POST", "/api/auth/refresh", body, token=None))
            except ServerRefused as refused:
                if refused.status != httpx.codes.UNAUTHORIZED:
                    raise
                raise PlainError("The login has expired. Run `docqa login` again.") from None
            self._credentials.keep(self.url, _login_of(tokens))
            return tokens.access_token

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise ServerAway(self.url, "it took too long") from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise ServerAway(self.url, str(error) or type(error).__name__) from None
        except UnicodeEncodeError:
            raise PlainError("It was not sent: what was given, or the name of a file, is no UTF-8 text.") from None


def _login_of(tokens: Tokens) -> Login:
    return Login(tokens.user.email, tokens.access_token, tokens.refresh_token)


def secret_in(name: str, kind: str) -> str:
    """What the variable `name` holds, or "". It is never repeated: httpx would, where it cannot be a header."""
    secret = os.environ.get(name, "").strip()
    if not (secret.isascii() and secret.isprintable()):
        raise PlainError(f"{name} is not {kind}: it has characters that none has.")
    return secret


def _raise_for_problem(response: httpx.Response) -> None:
    if not response.is_success:
        raise refusal(response.status_code, response.content)


def refusal(status: int, body: bytes | str) -> ServerRefused:
    """The error that a problem document tells of, its field errors included."""
    try:
        problem = UploadProblem.model_validate_json(body)
    except ValidationError:
        return ServerRefused(status=status, code=f"http.{status}", text="The server's answer is not one of docqa's")
    others = [error for error in problem.errors or [] if error.detail != problem.detail]
    text = problem.detail + "".join(f"\n  {error.field}: {error.detail}" for error in others)
    return ServerRefused(status=problem.status, code=problem.code, text=text, rejected=problem.rejected or ())


def _parse(kind: type[ModelT], response: httpx.Response) -> ModelT:
    try:
        return kind.model_validate_json(response.content)
    except ValidationError:
        raise _not_understood(response) from None


def _not_understood(response: httpx.Response) -> PlainError:
    return PlainError(f"{response.url} answered with something that this release does not understand. Is it docqa?")


def _is_local(url: str) -> bool:
    return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")

"""HEAD wherever there is GET (RFC 9110, section 9.3.2), and all the methods that an address answers to."""

from contextlib import suppress

from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTED = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Heads:
    """Pure ASGI: answers HEAD with the head of what GET would answer. The rest is not sent, and a stream is ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        try:
            with suppress(_HeadSent):
                await self._app(asked, receive, _Head(send).send)
        finally:
            scope.update({**asked, "method": "HEAD"})  # those outside tell of the route that was found


class _HeadSent(ClientDisconnect):
    """Nobody reads what is about to be sent."""


class _Head:
    """The answer on its way: it has ended when it has begun. The server then tells whoever listens for it."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        elif message.get("more_body", False):
            raise _HeadSent


def allowed(app: FastAPI, scope: Scope) -> list[str]:
    """The methods that routes of the app answer at the address of a request. Starlette names those of one route."""
    found = [method for method in ROUTED if _is_routed(app, scope, method)]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found


def _is_routed(app: FastAPI, scope: Scope, method: str) -> bool:
    asked = {name: scope[name] for name in ("type", "path", "root_path", "headers") if name in scope}
    return any(route.matches({**asked, "method": method})[0] is Match.FULL for route in app.routes)

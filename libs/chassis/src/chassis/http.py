"""Calls to other services and engines over HTTP, bounded in everything that can hang (docs/decisions/0099)."""

from collections.abc import Mapping

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.hdrs import CONTENT_TYPE

from chassis.lost_connections import noticing_socket
from chassis.tls import tls_for

NO_ANSWER = (ClientError, TimeoutError)
"""What a call raises that brought no whole answer: nobody listens, the connection broke, or it took too long."""

_CONNECT_SECONDS = 2.0
_PLACE_SECONDS = 5.0
"""In the queue for a connection, the time to open it included."""
_CONNECTIONS = 1000
_IDLE_SECONDS = 30.0
"""Shorter than the servers keep theirs, or requests go out on connections that are being closed."""


class HttpClient:
    """For services at known addresses. It is opened with its first call, in the event loop that runs then."""

    def __init__(self, *urls: str, silence: float) -> None:
        """`silence` in seconds, before an answer and between two pieces of it."""
        self._urls = urls
        self._silence = silence
        self._session: ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        within: float | None = None,
    ) -> ClientResponse:
        """The answer, as soon as it begins: its body is yet to be read, and it must be released.

        `within` in seconds, for the whole of it, its last byte included. What no URL may hold is quoted in `url`.
        Redirects are answers like others. Raises one of `NO_ANSWER`. What only reads, or does nothing when it is done
        again, is sent once more if the server closed a connection that was believed alive.
        """
        return await self._opened().request(
            method,
            url,
            headers=headers,
            data=body,
            timeout=ClientTimeout(within, _PLACE_SECONDS, self._silence, _CONNECT_SECONDS),
            allow_redirects=False,
        )

    async def read(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        within: float,
    ) -> tuple[int, bytes]:
        """The status of a small answer, and its body; otherwise as `request`."""
        async with await self.request(method, url, headers=headers, body=body, within=within) as answer:
            return answer.status, await answer.read()

    async def close(self) -> None:
        """End all calls and connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(
                    ssl=tls_for(*self._urls),
                    limit=_CONNECTIONS,
                    keepalive_timeout=_IDLE_SECONDS,
                    socket_factory=noticing_socket,
                ),
                cookie_jar=DummyCookieJar(),
                skip_auto_headers=(CONTENT_TYPE,),
            )
        return self._session

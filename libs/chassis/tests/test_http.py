"""Calls to other services: bounded in time, redirected nowhere, and sent once more only where that does nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from chassis.http import NO_ANSWER, HttpClient

from tests.stubs.http import HttpStub, Reply, Request


class Service:
    """Answers what it is asked as its path says; `heard` are the requests."""

    def __init__(self) -> None:
        self.heard: list[Request] = []
        self._stub = HttpStub(self._answer)
        self.url = self._stub.url
        self.close = self._stub.close

    async def _answer(self, request: Request, reply: Reply) -> None:
        self.heard.append(request)
        match request.path:
            case "/silent":
                await asyncio.sleep(60)
            case "/dripping":
                await reply.begin("text/plain")
                while True:
                    await reply.chunk(b".")
                    await asyncio.sleep(0.05)
            case "/halting":
                await reply.begin("text/plain")
                await reply.chunk(b".")
                await asyncio.sleep(60)
            case "/cut":
                await reply.cut(200, b"never whole", kind="text/plain")
            case "/elsewhere":
                await reply.send(307, b"", kind="text/plain", headers={"location": "/here", "set-cookie": "a=b"})
            case "/leaving" if len(self.heard) == 2:
                reply.broken = True
            case _:
                await reply.send(200, b"hello", kind="text/plain")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def http(service: Service) -> AsyncIterator[HttpClient]:
    client = HttpClient(service.url, silence=0.3)
    yield client
    await client.close()
    service.close()


async def test_a_request_goes_out_as_it_is(service: Service, http: HttpClient) -> None:
    sent = await http.read("POST", f"{service.url}/a%2Fb?c=%20d", headers={"x-some": "thing"}, body=b"{}", within=5)

    assert sent == (200, b"hello")
    (heard,) = service.heard
    assert (heard.method, heard.path, heard.query, heard.body) == ("POST", "/a%2Fb", "c=%20d", b"{}")
    assert heard.headers["x-some"] == "thing"
    assert "content-type" not in heard.headers


async def test_no_address_becomes_a_header(service: Service, http: HttpClient) -> None:
    await http.read("GET", f"{service.url}/a b?c=d e\r\nX-Forged: yes", within=5)

    (heard,) = service.heard
    assert "x-forged" not in heard.headers
    assert heard.path == "/a%20b"


@pytest.mark.parametrize("path", ["silent", "halting"])
async def test_silence_ends_a_call(service: Service, http: HttpClient, path: str) -> None:
    with pytest.raises(NO_ANSWER):
        await http.read("GET", f"{service.url}/{path}", within=60)


async def test_a_call_ends_at_its_limit_however_lively_it_is(service: Service, http: HttpClient) -> None:
    with pytest.raises(TimeoutError):
        await http.read("GET", f"{service.url}/dripping", within=0.5)


async def test_an_answer_without_its_end_is_none(service: Service, http: HttpClient) -> None:
    with pytest.raises(NO_ANSWER):
        await http.read("GET", f"{service.url}/cut", within=5)


async def test_nobody_listening_is_no_answer(http: HttpClient) -> None:
    with pytest.raises(NO_ANSWER):
        await http.read("GET", "http://127.0.0.1:1/", within=5)


async def test_a_redirect_is_an_answer_and_no_cookie_is_kept(service: Service, http: HttpClient) -> None:
    status, _ = await http.read("GET", f"{service.url}/elsewhere", within=5)
    await http.read("GET", f"{service.url}/here", within=5)

    assert status == 307
    assert [heard.path for heard in service.heard] == ["/elsewhere", "/here"]
    assert "cookie" not in service.heard[-1].headers


async def test_what_only_reads_is_sent_again_on_a_connection_that_was_closed(
    service: Service, http: HttpClient
) -> None:
    for _ in range(2):
        assert await http.read("GET", f"{service.url}/leaving", within=5) == (200, b"hello")

    assert len(service.heard) == 3


async def test_what_changes_something_is_not(service: Service, http: HttpClient) -> None:
    await http.read("POST", f"{service.url}/leaving", within=5)
    with pytest.raises(NO_ANSWER):
        await http.read("POST", f"{service.url}/leaving", within=5)

    assert len(service.heard) == 2


async def test_a_client_that_was_never_used_can_be_closed() -> None:
    await HttpClient("http://127.0.0.1:1", silence=1).close()

"""A nursery in this process, seen from the other end of its pipes."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from threading import Thread

import pytest
from ingest.extraction import Extraction
from ingest.nursery import Nursery

from services.ingest.tests.waiting import children
from tests.samples import hostile


class Pipes:
    """What a service has of its nursery."""

    def __init__(self) -> None:
        self.orders, self._orders = os.pipe()
        self._answers, self.answers = os.pipe()

    def order(self, *orders: dict[str, object]) -> None:
        os.write(self._orders, b"".join(json.dumps(order).encode() + b"\n" for order in orders))

    def answer(self) -> dict[str, int]:
        answer: dict[str, int] = json.loads(os.read(self._answers, 1000))
        return answer

    def end(self) -> None:
        os.close(self._orders)

    def close(self) -> None:
        for descriptor in (self.orders, self._answers, self.answers):
            os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    handler = signal.getsignal(signal.SIGCHLD)
    yield pipes
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, handler)
    pipes.close()


def serve(pipes: Pipes, service: Callable[[], None]) -> None:
    """Run a nursery until the service ends."""

    def play() -> None:
        try:
            service()
        finally:
            pipes.end()

    playing = Thread(target=play)
    playing.start()
    Nursery(pipes.orders, pipes.answers).run()
    playing.join()


def test_it_forks_a_reader_and_tells_how_it_ended(pipes: Pipes, extraction: Callable[..., Extraction]) -> None:
    order = extraction(b"A text.", media_type="text/plain")
    answers: list[dict[str, int]] = []

    def service() -> None:
        pipes.order({"id": 7, "extraction": order.to_json()})
        answers.append(pipes.answer())

    serve(pipes, service)
    assert (answers[0]["id"], answers[0]["status"]) == (7, 0)
    assert answers[0]["peak"] > 1 << 20
    assert order.answer_file.exists()


def test_it_kills_a_reader_that_nobody_waits_for(pipes: Pipes, extraction: Callable[..., Extraction]) -> None:
    order = extraction(hostile.endless_text(50))
    answers: list[dict[str, int]] = []

    def service() -> None:
        pipes.order({"id": 1, "extraction": order.to_json()}, {"id": 1, "kill": True}, {"id": 2, "kill": True})
        answers.append(pipes.answer())

    serve(pipes, service)
    assert (answers[0]["id"], answers[0]["status"]) == (1, -signal.SIGKILL)
    assert not order.answer_file.exists()


def test_when_its_orders_end_so_do_its_readers(pipes: Pipes, extraction: Callable[..., Extraction]) -> None:
    order = extraction(hostile.endless_text(50))
    before = children(os.getpid())
    serve(pipes, lambda: pipes.order({"id": 1, "extraction": order.to_json()}))

    assert children(os.getpid()) == before
    assert not order.answer_file.exists()

"""Giving up a client of the broker."""

import sys
import threading
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

LOOK_SECONDS = 0.1

MINE = 2
"""References to the one thing in a list, while they are counted."""


def let_go(client: Consumer | Producer | AdminClient) -> None:
    """Nobody may begin to use it any more; who is still at it ends in peace.

    A client ends with the last reference to it, and that waits for its threads: for seconds, if one of them waits for a
    name server. So the last one to hold it is a thread that nobody waits for.
    """
    threading.Thread(target=_hold, args=([client],), name="let go of a client", daemon=True).start()


def _hold(held: list[Consumer | Producer | AdminClient]) -> None:
    while sys.getrefcount(held[0]) > MINE:
        time.sleep(LOOK_SECONDS)
    held.clear()

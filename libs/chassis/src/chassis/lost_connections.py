"""Connections whose other side is gone without a word: a cut cable, a firewall that has forgotten them.

Left alone, the kernel believes in them for a quarter of an hour, and whoever waits on one waits for its own time limit.
"""

import socket

LOST_SECONDS = 10
"""How long what was sent, keep-alives included, may go unacknowledged. For a process that only stands still its kernel
acknowledges, until its buffer is full."""

_IDLE_SECONDS, _EVERY_SECONDS, _PROBES = 5, 2, 3


def notice_loss(connection: socket.socket) -> None:
    """Have the kernel end the connection once it is lost; sockets of files are not lost. Where a kernel cannot, it
    keeps its own time."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE_SECONDS),
        ("TCP_KEEPINTVL", _EVERY_SECONDS),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", LOST_SECONDS * 1000),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def noticing_socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    """A socket for `getaddrinfo`'s answer, as aiohttp's connector wants one made."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    notice_loss(made)
    return made

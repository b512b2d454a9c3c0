"""Connections that are lost without a word are given up by the kernel."""

import socket
import sys

import pytest
from chassis.lost_connections import LOST_SECONDS, notice_loss, noticing_socket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other kernels keep their own time")


def patience(connection: socket.socket) -> tuple[int, int]:
    """Whether it is kept alive, and the milliseconds that something may go unacknowledged."""
    return (
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    )


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connection_over_the_network_is_given_up_in_seconds(family: socket.AddressFamily) -> None:
    with socket.socket(family) as connection:
        notice_loss(connection)
        assert patience(connection) == (1, LOST_SECONDS * 1000)


def test_calls_over_http_go_out_on_such_connections() -> None:
    with noticing_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ())) as connection:
        assert patience(connection) == (1, LOST_SECONDS * 1000)
        assert not connection.getblocking()


def test_a_socket_in_a_folder_is_left_as_it_is() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        notice_loss(connection)

"""Ports of this machine: the public one that a person chose, and free ones for the services behind it."""

import errno
import random
import socket
from pathlib import Path

from docqa.failing import PlainError, PortInUse

LOWEST = 20_000
USUAL_FIRST_EPHEMERAL = 32_768


def check_public(host: str, port: int) -> None:
    """Raises `PortInUse` if nobody could listen there now.

    SO_REUSEADDR as a server has it: connections of the last run that linger for a minute do not matter.
    """
    try:
        _bind(host, port)
    except PermissionError:
        raise PortInUse(host, port, "this user may not listen on it (ports below 1024 are root's)") from None
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise PortInUse(host, port, "something else listens there" if in_use else str(error.strerror).lower()) from None


def free(count: int, *, host: str = "127.0.0.1", but: int = 0) -> list[int]:
    """Different ports that nobody uses (and not `but`), below those that the kernel gives to outgoing connections.

    A service binds its port only seconds after it was chosen; in between, no connection can get it by chance.
    """
    candidates = [port for port in range(LOWEST, _first_ephemeral()) if port != but]
    found: list[int] = []
    for port in random.sample(candidates, len(candidates)):
        if len(found) == count:
            return found
        try:
            _bind(host, port)
        except OSError:
            continue
        found.append(port)
    raise PlainError(f"This machine has no {count} free ports on {host}.")


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except (OSError, ValueError):
        first = USUAL_FIRST_EPHEMERAL
    return first if first > LOWEST + 1000 else 65_536


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)

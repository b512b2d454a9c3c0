"""Loads what most services need, and becomes each of them by a fork: `python -P -m docqa.embedded.preloaded`.

Five interpreters would load the same libraries five times, and keep them in memory five times.
"""

import os
import runpy
import sys
from importlib import import_module
from typing import TypedDict

import setproctitle
from chassis.fork_server import ForkServer, die_with_parent

SHARED = (
    "chassis.http",
    "chassis.identity",
    "chassis.logs",
    "chassis.schema",
    "chassis.serving",
    "chassis.transactions",
    "chassis.web",
    "messaging.delivery",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvloop",
)
"""With what they import. Nothing that starts a thread, for a fork would lose it."""


class Order(TypedDict):
    """A module to be run as `python -m` runs it."""

    name: str
    module: str
    environment: dict[str, str]
    folder: str
    log: str


def become(order: Order) -> None:
    """Returns, or raises, when the module has ended."""
    os.setsid()
    setproctitle.setproctitle(f"docqa {order['name']} ({order['module']})")
    os.chdir(order["folder"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for output in (1, 2):
        os.dup2(log, output)
    os.close(log)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [order["module"]]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    for module in SHARED:
        import_module(module)
    ForkServer(become).run()


if __name__ == "__main__":
    main()

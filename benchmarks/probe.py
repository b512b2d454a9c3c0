"""Asks a service for its health, from a process that does nothing else: `python -m benchmarks.probe URL`.

It says when it is ready, asks again and again from the first line of its standard input until its end, and then prints
what each answer took, in milliseconds, as a JSON list.
"""

import http.client
import json
import select
import sys
from time import perf_counter
from urllib.parse import urlsplit

ASK_EVERY = 0.005


def main() -> None:
    address = urlsplit(sys.argv[1])
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    _ask(connection)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    waited = list[float]()
    while not select.select([sys.stdin], [], [], ASK_EVERY)[0]:
        waited.append(_ask(connection))
    sys.stdout.write(json.dumps(waited))


def _ask(connection: http.client.HTTPConnection) -> float:
    began = perf_counter()
    connection.request("GET", "/health/live")
    connection.getresponse().read()
    return 1000 * (perf_counter() - began)


if __name__ == "__main__":
    main()

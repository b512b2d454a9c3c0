"""Optional halves of libraries that no service uses, and that would weigh on each of them."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def leaving_out(*packages: str) -> Iterator[None]:
    """What is imported within finds `packages` not installed. No effect on what is loaded already."""
    with ExitStack() as afterwards:
        for package in packages:
            if package not in sys.modules:
                sys.modules[package] = None  # type: ignore[assignment]
                afterwards.callback(sys.modules.pop, package)
        yield

"""Starts the engines and prints where they are, until Ctrl-C; or runs the integration tests on them."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from docqa.embedded import spawn

from tests.engines import selecting
from tests.engines.choosing import Chosen, engines

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(words: list[str]) -> int:
    # While an engine starts, clients that knock complain.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(_test(words[1:]) if words[:1] == ["test"] else _serve())
    except asyncio.CancelledError:
        return 130


async def _serve() -> int:
    """The addresses go to the standard output alone, as lines that a shell reads."""
    _stop_when_asked()
    with tempfile.TemporaryDirectory(prefix="docqa-engines-") as folder:
        async with engines(Path(folder)) as chosen:
            _tell(chosen)
            _say("They run until Ctrl-C. Another shell finds them with these lines:")
            _print_lines("for the tests", chosen.addresses.environment())
            _print_lines("for docqa itself", await chosen.addresses.for_a_stack())
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                _say("Stopping …")
    return 0


async def _test(words: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="docqa-engines-") as folder:
        _stop_when_asked()
        async with engines(Path(folder)) as chosen:
            _tell(chosen)
            nothing_new = {"Kafka", "MinIO"} <= set(chosen.missing)
            code = 0 if nothing_new else await _pytest(words, chosen.addresses.environment())
    for name, reason in chosen.missing.items():
        _say(f"!! NOT TESTED against a real {name}: {reason}.")
    return code


async def _pytest(words: list[str], told: Mapping[str, str]) -> int:
    tied = [sys.executable, "-I", "-S", spawn.__file__, str(int(signal.SIGINT)), str(os.getpid()), "same"]
    command = [sys.executable, "-m", "pytest", "-p", selecting.__name__, *(words or selecting.PATHS)]
    # In a group of its own: Ctrl-C reaches it through us, once, so that it ends what it started.
    process = await asyncio.create_subprocess_exec(*tied, *command, env={**os.environ, **told}, process_group=0)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.send_signal(signal.SIGINT)
        await process.wait()
        raise


def _stop_when_asked() -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _tell(chosen: Chosen) -> None:
    for name, how in chosen.running.items():
        _say(f"{name}: {how}")
    for name, reason in chosen.missing.items():
        _say(f"{name}: MISSING, {reason}")


def _print_lines(purpose: str, environment: Mapping[str, str]) -> None:
    lines = [f"# {purpose}", *(f"export {name}='{value}'" for name, value in environment.items())]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

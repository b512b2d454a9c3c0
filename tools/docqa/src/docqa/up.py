"""`docqa up`: the embedded stack in the foreground, until Ctrl-C."""

import asyncio
import signal
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from docqa import environment
from docqa.progress import OnConsole
from docqa.stack import Stack

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(data: Path, port: int, console: Console) -> None:
    """Returns after a clean stop; raises `PlainError` if it could not start, and then nothing is left running."""
    asyncio.run(serve(data.expanduser().resolve(), port, console))


async def serve(data: Path, port: int, console: Console) -> None:
    """The same on a loop that is there already; takes its signals over."""
    console.print(f"docqa on [bold]{escape(str(data))}[/]", highlight=False, soft_wrap=True)
    stack = Stack(data, port=port, user=environment.of_user(), progress=OnConsole(console))
    stop = _Stop(stack)
    starting = asyncio.create_task(stack.start())
    stop.cancel_on_signal(starting)
    try:
        await starting
    except asyncio.CancelledError:
        console.print("Stopped.", highlight=False)
        return
    stop.starting = None
    try:
        console.print(f"\nReady: [bold]{stack.url}[/]   (Ctrl-C stops it)\n", highlight=False)
        await stop.asked.wait()
        console.print("Stopping …", highlight=False)
    finally:
        await stack.stop()
    console.print("Stopped.", highlight=False)


class _Stop:
    """Ctrl-C once stops in order; a second time ends everything at once."""

    def __init__(self, stack: Stack) -> None:
        self.asked = asyncio.Event()
        self.starting: asyncio.Task[None] | None = None
        self._stack = stack

    def cancel_on_signal(self, starting: asyncio.Task[None]) -> None:
        self.starting = starting
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.asked.is_set():
            self._stack.kill()
            return
        self.asked.set()
        if self.starting is not None:
            self.starting.cancel()

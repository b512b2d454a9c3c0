"""Waiting for what happens in other processes and in other transactions."""

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from pathlib import Path


async def until(look: Callable[[], object], within: float = 30) -> None:
    """Look again and again, until there is something to see."""
    async with asyncio.timeout(within):
        while True:
            seen = look()
            if await seen if isawaitable(seen) else seen:
                return
            await asyncio.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(child) for child in proc(pid, f"task/{pid}/children").split()]


def proc(pid: int, name: str) -> str:
    """What the kernel tells of a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes().decode()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()

"""What a probe asks: `None` is fine, text says what is missing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

Check = Callable[[], Awaitable[str | None]]

CHECK_SECONDS = 2.0
"""Kubernetes and the supervisor give a probe a few seconds: a check that hangs is an answer, too."""


async def examine(checks: Mapping[str, Check]) -> dict[str, str]:
    """What is missing, by check; empty if all is well. The checks run side by side, each within its time."""
    found = await asyncio.gather(*(_examine_one(check) for check in checks.values()))
    return {name: missing for name, missing in zip(checks, found, strict=True) if missing is not None}


async def _examine_one(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:
        return type(error).__name__

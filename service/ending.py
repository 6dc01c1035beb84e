"""Ending tasks for certain."""

import asyncio
from typing import Any

_AGAIN_SECONDS = 0.5


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel them, and come back when they are over, whatever they came to.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which redis-py sends its commands with,
    swallows a cancellation that comes in the moment in which it is done.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)

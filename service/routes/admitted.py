"""What holds a place among the gateway's requests while it is answered, streams included."""

from collections.abc import AsyncIterator

from fastapi import Depends

from service.parts import Wired


async def _place(parts: Wired) -> AsyncIterator[None]:
    parts.admission.enter()
    try:
        yield
    finally:
        parts.admission.leave()


ADMITTED = Depends(_place)
"""Dependency of every route that asks a model: 429 where the gateway is full."""

"""The gateway's side: find or wait for an engine that has the model, and hold it while a request runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.connection import text
from service.engines import keys
from service.engines.holds import Hold, Holds
from service.engines.line import Line

_POLL_SECONDS = 0.02
_ASK_SECONDS = 0.1
_WAITING_SECONDS = 5


class NoEngine(Exception):
    """No engine has the model, and none got it in time or can get it."""


class EngineRouter:
    def __init__(self, redis: "Redis", timeout: float) -> None:
        self._redis = redis
        self._timeout = timeout
        self._holds = Holds(redis)
        self._lines: dict[str, Line[Hold]] = {}
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, model: str, keep_alive: float | None = None) -> AsyncIterator[Hold]:
        """An engine that serves `model` and keeps it while the block runs. Raises NoEngine.

        The model stays loaded for `keep_alive` seconds afterwards (-1: for ever; None: the worker's default),
        unless the room is needed.
        """
        hold = await self._holds.join(model) or await self._wait(model)
        try:
            yield hold
        finally:
            self._holds.leave(hold, keep_alive)

    async def close(self) -> None:
        await self._holds.close()
        await self._redis.aclose()

    async def _wait(self, model: str) -> Hold:
        """In line with the others that wait for the model."""
        line = self._lines.get(model)
        if line is None:
            line = self._lines[model] = Line()
            serving = asyncio.create_task(self._serve(model, line))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        place = line.join()
        try:
            await asyncio.wait({place.given}, timeout=self._timeout)
            if not place.given.done():
                seconds = f"{self._timeout:.0f} s"
                raise NoEngine(f"no engine had the model within {seconds}; see GET /engines")
        except asyncio.CancelledError:
            if place.given.done() and place.given.exception() is None:
                # The engine came in the moment in which the request was given up.
                self._holds.leave(place.given.result())
            raise
        finally:
            line.leave(place)
            with suppress(RedisError):
                await asyncio.shield(self._redis.zrem(keys.waiting(model), place.id))
        return place.given.result()

    async def _serve(self, model: str, line: Line[Hold]) -> None:
        """One task for all in line: ask for the model until each has an engine, or knows why not."""
        asked = 0.0
        try:
            while place := line.first():
                hold = await self._holds.join(model)
                if hold is None:
                    if time.monotonic() - asked > _ASK_SECONDS:
                        asked = time.monotonic()
                        await self._ask_for(model, line)
                    await asyncio.sleep(_POLL_SECONDS)
                elif not line.give(place, hold):
                    self._holds.leave(hold)
        except Exception as error:
            line.fail(error)
        finally:
            del self._lines[model]

    async def _ask_for(self, model: str, line: Line[Hold]) -> None:
        """Raises NoEngine when the model has just failed to load."""
        error = await self._redis.get(keys.load_error(model))
        if error is not None:
            raise NoEngine(f"the model could not be loaded: {text(error)}")
        now = time.time()
        until: dict[Any, float] = {place.id: now + _WAITING_SECONDS for place in line.places}
        if until:
            async with self._redis.pipeline() as pipe:
                pipe.zadd(keys.waiting(model), until)
                pipe.expire(keys.waiting(model), _WAITING_SECONDS)
                pipe.zadd(keys.DEMAND, {model: now}, nx=True)
                await pipe.execute()

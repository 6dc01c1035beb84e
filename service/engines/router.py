"""The gateway's side: find or wait for an engine that has the model, and hold it while a request runs."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.connection import text
from service.engines import keys
from service.engines.line import Line

_POLL_SECONDS = 0.05
_WAITING_SECONDS = 5
_LEASE_SECONDS = 20
_RENEW_SECONDS = 5
_USE_SECONDS = 24 * 3600

# Of the engines that have the model, the one with the fewest requests. The lease is taken in the same step as
# the check: an engine that drains takes no more.
_ACQUIRE = """
local best, fewest
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local name = ARGV[1] .. id
  local found = redis.call('HMGET', name, 'state', 'model')
  if found[1] == 'ready' and found[2] == ARGV[2] then
    local running = redis.call('ZCOUNT', name .. ':leases', ARGV[4], '+inf')
    if not best or running < fewest then best, fewest = id, running end
  end
end
if not best then return false end
redis.call('ZADD', ARGV[1] .. best .. ':leases', ARGV[5], ARGV[3])
return {best, redis.call('HGET', ARGV[1] .. best, 'url')}
"""


class NoEngine(Exception):
    """No engine has the model, and none got it in time or can get it."""


@dataclass(frozen=True)
class Lease:
    engine: str
    id: str
    model: str
    url: str


class EngineRouter:
    def __init__(self, redis: "Redis", timeout: float) -> None:
        self._redis = redis
        self._timeout = timeout
        self._acquire = redis.register_script(_ACQUIRE)
        self._lines: dict[str, Line[Lease]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._held: set[Lease] = set()
        self._renewing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lease(self, model: str, keep_alive: float | None = None) -> AsyncIterator[Lease]:
        """An engine that serves `model` and keeps it while the block runs. Raises NoEngine.

        The model stays loaded for `keep_alive` seconds afterwards (-1: for ever; None: the worker's default),
        unless the room is needed.
        """
        lease = await self._take(model) or await self._wait(model)
        self._hold(lease)
        try:
            yield lease
        finally:
            self._held.discard(lease)
            await asyncio.shield(self._release(lease, keep_alive))

    async def close(self) -> None:
        await self._redis.aclose()

    async def _take(self, model: str) -> Lease | None:
        lease, now = secrets.token_hex(8), time.time()
        found = await self._acquire(
            keys=[keys.ENGINES], args=[keys.record(""), model, lease, now, now + _LEASE_SECONDS]
        )
        return Lease(engine=text(found[0]), id=lease, model=model, url=text(found[1])) if found else None

    async def _release(self, lease: Lease, keep_alive: float | None = None) -> None:
        use: dict[Any, Any] = {"last_used": time.time()}
        if keep_alive is not None:
            use["keep_alive"] = keep_alive
        name = keys.use(lease.engine)
        # With Redis away the lease runs out by itself; the answer need not be lost.
        with suppress(RedisError):
            async with self._redis.pipeline() as pipe:
                pipe.hset(name, mapping=use)
                if keep_alive is None:
                    pipe.hdel(name, "keep_alive")
                pipe.expire(name, _USE_SECONDS)
                pipe.zrem(keys.leases(lease.engine), lease.id)
                await pipe.execute()

    def _hold(self, lease: Lease) -> None:
        self._held.add(lease)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """One task for all leases. It ends by itself: a cancellation may be swallowed (see end())."""
        while self._held:
            await asyncio.sleep(_RENEW_SECONDS)
            until = time.time() + _LEASE_SECONDS
            with suppress(RedisError):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for lease in self._held:
                        # Only what is still there: a lease that was released meanwhile does not come back.
                        pipe.zadd(keys.leases(lease.engine), {lease.id: until}, xx=True)
                    await pipe.execute()

    async def _wait(self, model: str) -> Lease:
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
                await asyncio.shield(self._release(place.given.result()))
            raise
        finally:
            line.leave(place)
            with suppress(RedisError):
                await asyncio.shield(self._redis.zrem(keys.waiting(model), place.id))
        return place.given.result()

    async def _serve(self, model: str, line: Line[Lease]) -> None:
        """One task for all in line: ask for the model until each has an engine, or knows why not."""
        try:
            while place := line.first():
                lease = await self._take(model)
                if lease is None:
                    await self._ask_for(model, line)
                elif not line.give(place, lease):
                    await self._release(lease)
        except Exception as error:
            line.fail(error)
        finally:
            del self._lines[model]

    async def _ask_for(self, model: str, line: Line[Lease]) -> None:
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
        await asyncio.sleep(_POLL_SECONDS)

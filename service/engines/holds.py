"""The engines that a gateway holds: one lease for all its requests to a model, whatever their number.

Redis is told now and then, not for every request: each write to it is synced to disk. A request that finds
its model's engine held joins without asking. That is safe because an engine changes its model only when no
lease on it is left: the gateway sees within a moment that the engine is draining, lets no more requests in,
and gives the lease back after the last one.
"""

import asyncio
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.connection import text
from service.engines import keys

_LEASE_SECONDS = 20.0
_RENEW_SECONDS = 1.0
_LOOK_SECONDS = 0.1
"""How soon it is noticed that an engine drains."""
_LINGER_SECONDS = 0.05
"""A client that sends one request after the other finds the engine still held."""
_SAFE_SECONDS = 10.0
"""No request joins when less is left of the lease: it must have reached the engine before the end."""
_USE_SECONDS = 24 * 3600

# Of the engines that have the model, the one with the fewest requests, and how many there are. The lease is
# taken in the same step as the check: an engine that drains gives none.
_TAKE = """
local best, fewest, count = nil, 0, 0
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local name = ARGV[1] .. id
  local found = redis.call('HMGET', name, 'state', 'model')
  if found[1] == 'ready' and found[2] == ARGV[2] then
    count = count + 1
    local running = 0
    for _, lease in ipairs(redis.call('ZRANGEBYSCORE', name .. ':leases', ARGV[4], '+inf')) do
      running = running + (redis.call('HGET', name .. ':running', lease) or 1)
    end
    if not best or running < fewest then best, fewest = id, running end
  end
end
if not best then return false end
redis.call('ZADD', ARGV[1] .. best .. ':leases', ARGV[5], ARGV[3])
return {best, redis.call('HGET', ARGV[1] .. best, 'url'), count}
"""

# Whether the engine still serves the model for this lease. With a time in ARGV[5] the lease is renewed until
# then; one that was given back does not come back.
_LOOK = """
local name = ARGV[1] .. ARGV[2]
if not redis.call('ZSCORE', name .. ':leases', ARGV[3]) then return 0 end
if ARGV[5] ~= '' then
  redis.call('ZADD', name .. ':leases', ARGV[5], ARGV[3])
  redis.call('HSET', name .. ':running', ARGV[3], ARGV[6])
  redis.call('EXPIRE', name .. ':running', ARGV[7])
end
local found = redis.call('HMGET', name, 'state', 'model')
return (found[1] == 'ready' and found[2] == ARGV[4]) and 1 or 0
"""


@dataclass(eq=False)
class Hold:
    """A lease on an engine, and the requests that run under it."""

    engine: str
    url: str
    model: str
    lease: str
    until: float
    """The lease lasts so long at least, on the monotonic clock."""
    open: bool
    """Whether more requests may join."""
    running: int = 1
    left_at: float = 0.0
    """When the last request left, on the monotonic clock."""
    use: dict[str, float] = field(default_factory=dict)
    """When that was, and the keep_alive that it asked for."""

    @property
    def over(self) -> bool:
        lingers = self.open and time.monotonic() - self.left_at < _LINGER_SECONDS
        return not self.running and not lingers


class Holds:
    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._look = redis.register_script(_LOOK)
        self._held: list[Hold] = []
        self._one_is_over = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def join(self, model: str) -> Hold | None:
        """Begin a request on an engine that serves `model`; it must leave(). None when none does."""
        hold = self._joinable(model)
        if hold is not None:
            hold.running += 1
            return hold
        return await self._lease(model)

    def leave(self, hold: Hold, keep_alive: float | None = None) -> None:
        """End a request. The model is to be kept for so long from now on."""
        hold.running -= 1
        hold.left_at = time.monotonic()
        hold.use = {"last_used": time.time()} | ({} if keep_alive is None else {"keep_alive": keep_alive})
        if hold.over:
            self._one_is_over.set()

    async def close(self) -> None:
        """Give everything back."""
        while self._held:
            await self._give_back(self._held.pop())
        self._one_is_over.set()
        if self._watching is not None:
            await self._watching

    def _joinable(self, model: str) -> Hold | None:
        latest = time.monotonic() + _SAFE_SECONDS
        fits = (hold for hold in self._held if hold.model == model and hold.open and hold.until > latest)
        return next(fits, None)

    async def _lease(self, model: str) -> Hold | None:
        lease, began, now = secrets.token_hex(8), time.monotonic(), time.time()
        found = await self._take(
            keys=[keys.ENGINES], args=[keys.record(""), model, lease, now, now + _LEASE_SECONDS]
        )
        if not found:
            return None
        engine, url, count = found
        # Where several engines serve the model, each request takes the least busy one.
        hold = Hold(text(engine), text(url), model, lease, began + _LEASE_SECONDS, open=count == 1)
        other = self._joinable(model)
        self._held.append(hold)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        if other is None:
            return hold
        # Of requests that asked at the same moment, one has a lease for all.
        hold.open = False
        self.leave(hold)
        other.running += 1
        return other

    async def _watch(self) -> None:
        """One task for all. It ends by itself: a cancellation may be swallowed (see end())."""
        while self._held:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._one_is_over.wait(), _LOOK_SECONDS)
            self._one_is_over.clear()
            for hold in list(self._held):
                # With Redis away a lease runs out by itself; the answers need not be lost.
                with suppress(RedisError):
                    await self._attend(hold)

    async def _attend(self, hold: Hold) -> None:
        if hold not in self._held:
            return
        if hold.over:
            self._held.remove(hold)
            await self._give_back(hold)
            return
        began, until = time.monotonic(), ""
        if hold.until - began < _LEASE_SECONDS - _RENEW_SECONDS:
            until = str(time.time() + _LEASE_SECONDS)
        serves = await self._look(
            args=[
                keys.record(""), hold.engine, hold.lease, hold.model,
                until, max(hold.running, 1), int(_LEASE_SECONDS),
            ]
        )  # fmt: skip
        hold.open = hold.open and bool(serves)
        if until:
            hold.until = began + _LEASE_SECONDS

    async def _give_back(self, hold: Hold) -> None:
        name = keys.use(hold.engine)
        use: dict[Any, Any] = dict(hold.use)
        with suppress(RedisError):
            async with self._redis.pipeline() as pipe:
                pipe.zrem(keys.leases(hold.engine), hold.lease)
                pipe.hdel(keys.running(hold.engine), hold.lease)
                if use:
                    pipe.hset(name, mapping=use)
                    pipe.expire(name, _USE_SECONDS)
                    if "keep_alive" not in use:
                        pipe.hdel(name, "keep_alive")
                await pipe.execute()

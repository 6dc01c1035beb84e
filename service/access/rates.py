"""Requests per minute of a key, counted in Redis, so that all gateways count together."""

import math
from dataclasses import dataclass

import redis.asyncio

_FOLDER = "polymerge:rate:"
_MINUTE_MS = 60_000
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local minute, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0)) + minute / limit
local wait = full - now - minute
if wait > 0 then
    return {0, math.ceil(wait)}
end
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now))
return {math.floor(-wait * limit / minute), 0}
"""
"""A token bucket, of which Redis keeps when it will be full again (the generic cell rate algorithm)."""


@dataclass(frozen=True)
class Taken:
    """What came of asking for a request. `wait_ms` is 0 when it was granted."""

    remaining: int
    wait_ms: int

    @property
    def wait_seconds(self) -> int:
        return math.ceil(self.wait_ms / 1000)


class Rates:
    def __init__(self, connection: "redis.asyncio.Redis") -> None:
        self._take = connection.register_script(_TAKE)

    async def take(self, key_id: str, limit: int) -> Taken:
        """One request out of the key's bucket, which holds `limit` and gets as many a minute."""
        remaining, wait_ms = await self._take(keys=[_FOLDER + key_id], args=[_MINUTE_MS, limit])
        return Taken(remaining, wait_ms)

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
from service.contracts.engine import Engine
from service.engines import keys

_POLL_SECONDS = 0.05
_WAITING_SECONDS = 5
_LEASE_SECONDS = 20
_RENEW_SECONDS = 5

# The lease is taken in the same step as the check: an engine that drains takes no more.
_ACQUIRE = """
if redis.call('HGET', KEYS[1], 'state') ~= 'ready' or redis.call('HGET', KEYS[1], 'model') ~= ARGV[1] then
  return false
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return redis.call('HGET', KEYS[1], 'url')
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

    @asynccontextmanager
    async def lease(self, model: str) -> AsyncIterator[Lease]:
        """An engine that serves `model` and keeps it while the block runs. Raises NoEngine."""
        lease = await self._take(model) or await self._wait(model)
        renewal = asyncio.create_task(self._renew(lease))
        try:
            yield lease
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal
            # With Redis away the lease runs out by itself; the answer need not be lost.
            with suppress(RedisError):
                await asyncio.shield(self._redis.zrem(keys.leases(lease.engine), lease.id))

    async def engines(self) -> list[Engine]:
        """Every engine alive, with the number of requests it is running."""
        found = []
        for engine_id in await self._engine_ids():
            raw = await self._redis.hget(keys.record(engine_id), "json")
            if raw is None:
                await self._redis.srem(keys.ENGINES, engine_id)
                continue
            leases = await self._redis.zcount(keys.leases(engine_id), time.time(), "+inf")
            found.append(Engine.model_validate_json(raw).model_copy(update={"leases": leases}))
        return found

    async def close(self) -> None:
        await self._redis.aclose()

    async def _take(self, model: str) -> Lease | None:
        for engine_id in await self._engine_ids():
            lease_id = secrets.token_hex(8)
            url = await self._acquire(
                keys=[keys.record(engine_id), keys.leases(engine_id)],
                args=[model, lease_id, time.time() + _LEASE_SECONDS],
            )
            if url:
                return Lease(engine=engine_id, id=lease_id, model=model, url=text(url))
        return None

    async def _wait(self, model: str) -> Lease:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            error = await self._redis.get(keys.load_error(model))
            if error is not None:
                raise NoEngine(f"the model could not be loaded: {text(error)}")
            await self._redis.set(keys.waiting(model), 1, ex=_WAITING_SECONDS)
            await self._redis.zadd(keys.DEMAND, {model: time.time()}, nx=True)
            await asyncio.sleep(_POLL_SECONDS)
            lease = await self._take(model)
            if lease:
                return lease
        raise NoEngine(f"no engine had the model within {self._timeout:.0f} s; see GET /engines")

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            expiry: dict[Any, float] = {lease.id: time.time() + _LEASE_SECONDS}
            with suppress(RedisError):
                await self._redis.zadd(keys.leases(lease.engine), expiry, xx=True)

    async def _engine_ids(self) -> list[str]:
        return sorted(text(raw) for raw in await self._redis.smembers(keys.ENGINES))

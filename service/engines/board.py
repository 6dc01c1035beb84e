"""The worker's side: what its engine is doing, which models are wanted, whether requests still run."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from service.connection import text
from service.contracts.engine import Engine
from service.engines import keys

HEARTBEAT_SECONDS = 10
_ERROR_SECONDS = 15


class EngineBoard:
    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def publish(self, engine: Engine) -> None:
        """Make this record the truth about the engine; repeat it at least every few seconds."""
        body = engine.model_copy(update={"heartbeat_at": datetime.now(UTC)}).model_dump_json()
        name = keys.record(engine.id)
        with self._redis.pipeline() as pipe:
            pipe.hset(
                name,
                mapping={
                    "state": engine.state,
                    "model": engine.model or "",
                    "url": engine.url or "",
                    "json": body,
                },
            )
            pipe.expire(name, HEARTBEAT_SECONDS)
            pipe.sadd(keys.ENGINES, engine.id)
            pipe.execute()

    def withdraw(self, engine: Engine) -> None:
        """The engine is gone for good."""
        self._redis.delete(keys.record(engine.id), keys.leases(engine.id))
        self._redis.srem(keys.ENGINES, engine.id)

    def withdraw_dead(self, host: str, lives: Callable[[str], bool]) -> None:
        """Withdraw this host's engines whose worker was killed, before their heartbeats run out."""
        for engine_id in map(text, self._redis.smembers(keys.ENGINES)):
            raw = self._redis.hget(keys.record(engine_id), "json")
            if raw is None:
                self._redis.srem(keys.ENGINES, engine_id)
                continue
            engine = Engine.model_validate_json(raw)
            if engine.worker.partition(":")[0] == host and not lives(engine.worker):
                self.withdraw(engine)

    def demand(self) -> list[tuple[str, float]]:
        """Models that requests wait for, the longest-waiting first, with the seconds they have waited."""
        now = time.time()
        wanted = []
        asked: list[Any] = self._redis.zrange(keys.DEMAND, 0, -1, withscores=True)
        for raw, since in asked:
            model = text(raw)
            if self._redis.exists(keys.waiting(model)) and not self._redis.exists(keys.load_error(model)):
                wanted.append((model, now - since))
            else:
                self._redis.zrem(keys.DEMAND, raw)
        return wanted

    def satisfied(self, model: str) -> None:
        """The model is loaded: whoever wants it can lease it now."""
        self._redis.zrem(keys.DEMAND, model)

    def failed(self, model: str, reason: str) -> None:
        """The model can't be loaded: tell those who wait."""
        self._redis.set(keys.load_error(model), reason, ex=_ERROR_SECONDS)
        self._redis.zrem(keys.DEMAND, model)

    def leases(self, engine_id: str) -> int:
        """Requests running on the engine; those of a gateway that died have expired."""
        name = keys.leases(engine_id)
        self._redis.zremrangebyscore(name, "-inf", time.time())
        return int(self._redis.zcard(name))

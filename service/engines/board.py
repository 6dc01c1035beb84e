"""The worker's side: what its engines are doing, which models it takes on, whether requests still run."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from redis import Redis

from service.connection import text
from service.contracts.engine import Engine, LoadFailure, ServeWorker
from service.engines import keys
from service.telemetry.counts import count_load, count_load_failure

HEARTBEAT_SECONDS = 10
_CLAIM_SECONDS = 10
_ERROR_SECONDS = 15
_FAILURES_SECONDS = 24 * 3600


class EngineBoard:
    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def publish(self, engine: Engine) -> None:
        """Make this record the truth about the engine; repeat it at least every few seconds."""
        body = engine.model_copy(update={"heartbeat_at": datetime.now(UTC)}).model_dump_json()
        name = keys.record(engine.id)
        fields: dict[Any, Any] = {
            "state": engine.state,
            "model": engine.model or "",
            "url": engine.url or "",
            "json": body,
        }
        with self._redis.pipeline() as pipe:
            pipe.hset(name, mapping=fields)
            pipe.expire(name, HEARTBEAT_SECONDS)
            pipe.sadd(keys.ENGINES, engine.id)
            pipe.execute()

    def withdraw(self, engine_id: str) -> None:
        """The engine is gone for good."""
        self._redis.delete(*(key(engine_id) for key in (keys.record, keys.leases, keys.running, keys.use)))
        self._redis.srem(keys.ENGINES, engine_id)

    def in_demand(self) -> bool:
        """Whether requests wait for a model."""
        return bool(self._redis.exists(keys.DEMAND))

    def publish_worker(self, worker: ServeWorker) -> None:
        with self._redis.pipeline() as pipe:
            pipe.set(keys.worker(worker.name), worker.model_dump_json(), ex=HEARTBEAT_SECONDS)
            pipe.sadd(keys.WORKERS, worker.name)
            pipe.execute()

    def withdraw_worker(self, name: str) -> None:
        self._redis.delete(keys.worker(name))
        self._redis.srem(keys.WORKERS, name)

    def withdraw_dead(self, host: str, lives: Callable[[str], bool]) -> None:
        """Withdraw this host's workers that were killed, and their engines, before the heartbeats run out."""

        def dead(worker: str) -> bool:
            return worker.rpartition(":")[0] == host and not lives(worker)

        for name in map(text, self._redis.smembers(keys.WORKERS)):
            if dead(name):
                self.withdraw_worker(name)
        for engine_id in map(text, self._redis.smembers(keys.ENGINES)):
            raw = self._redis.hget(keys.record(engine_id), "json")
            if raw is None or dead(Engine.model_validate_json(raw).worker):
                self.withdraw(engine_id)

    def claim(self, model: str, worker: str) -> bool:
        """Whether this worker may load the model: no other one has just taken it on."""
        return bool(self._redis.set(keys.claim(model), worker, nx=True, ex=_CLAIM_SECONDS))

    def loaded(self, how: Literal["start", "swap"], seconds: float) -> None:
        """Count a load that succeeded."""
        count_load(self._redis, how, seconds)

    def satisfied(self, model: str) -> None:
        """The model is loaded: whoever wants it can lease it now."""
        self._redis.zrem(keys.DEMAND, model)
        self._redis.hdel(keys.FAILURES, model)
        self._redis.delete(keys.claim(model))

    def failed(self, model: str, reason: str) -> None:
        """The model can't be loaded: tell those who wait, and keep the reason for GET /engines."""
        failure = LoadFailure(model=model, reason=reason, at=datetime.now(UTC))
        self._redis.hset(keys.FAILURES, model, failure.model_dump_json())
        self._redis.expire(keys.FAILURES, _FAILURES_SECONDS)
        self._redis.set(keys.load_error(model), reason, ex=_ERROR_SECONDS)
        self._redis.zrem(keys.DEMAND, model)
        self._redis.delete(keys.claim(model))
        count_load_failure(self._redis)

    def leases(self, engine_id: str) -> int:
        """How many hold the engine; what a gateway that died held has expired."""
        name = keys.leases(engine_id)
        self._redis.zremrangebyscore(name, "-inf", time.time())
        return int(self._redis.zcard(name))

    def forget_use(self, engine_id: str) -> None:
        """The engine's model has changed: what requests asked of the last one is void."""
        self._redis.delete(keys.use(engine_id))

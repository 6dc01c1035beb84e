"""Which parts of the service are alive: workers announce themselves in Redis until a time that they renew."""

import time
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from service.contracts.engine import Readiness

_MERGE_WORKERS = "polymerge:alive:merge"
_SERVE_WORKERS = "polymerge:alive:serve"
"""Sorted sets: workers by the time until which they count as alive."""
_MERGE_SECONDS = 25
"""A busy merge worker beats every five seconds, an idle one every five to ten."""
_SERVE_SECONDS = 10


def announce_merge_worker(redis: Any, name: str) -> None:
    _announce(redis, _MERGE_WORKERS, name, _MERGE_SECONDS)


def withdraw_merge_worker(redis: Any, name: str) -> None:
    redis.zrem(_MERGE_WORKERS, name)


def announce_serve_worker(redis: Any, name: str) -> None:
    _announce(redis, _SERVE_WORKERS, name, _SERVE_SECONDS)


def withdraw_serve_worker(redis: Any, name: str) -> None:
    redis.zrem(_SERVE_WORKERS, name)


def readiness(redis: "Redis") -> Readiness:
    """What the service can do right now, and what is missing."""
    try:
        alive = alive_workers(redis)
    except RedisError as error:
        return Readiness(merge=False, generate=False, redis=False, detail=[f"Redis is away: {error}"])
    merge, generate = alive["merge"] > 0, alive["serve"] > 0
    detail = [] if merge else ["no merge worker is running: start one with `polymerge worker merge`"]
    detail += [] if generate else ["no serve worker is running: start one with `polymerge worker engine`"]
    return Readiness(merge=merge, generate=generate, redis=True, detail=detail)


def alive_workers(redis: "Redis") -> dict[str, int]:
    """How many workers of each kind are alive."""
    now = time.time()
    kinds = {"merge": _MERGE_WORKERS, "serve": _SERVE_WORKERS}
    return {kind: int(redis.zcount(workers, now, "+inf")) for kind, workers in kinds.items()}


def _announce(redis: Any, workers: str, name: str, seconds: int) -> None:
    """`redis` may be a pipeline."""
    now = time.time()
    redis.zremrangebyscore(workers, "-inf", now)
    redis.zadd(workers, {name: now + seconds})
    redis.expire(workers, seconds)

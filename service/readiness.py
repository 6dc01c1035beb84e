"""Which parts of the service are alive: workers announce themselves in Redis under keys that expire."""

from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from service.contracts.engine import Readiness

MERGE_WORKER = "polymerge:alive:merge:"
SERVE_WORKER = "polymerge:alive:serve:"
_MERGE_SECONDS = 25
"""A busy merge worker beats every five seconds, an idle one every five to ten."""
_SERVE_SECONDS = 10


def announce_merge_worker(redis: Any, name: str) -> None:
    redis.set(MERGE_WORKER + name, 1, ex=_MERGE_SECONDS)


def announce_serve_worker(redis: Any, name: str) -> None:
    redis.set(SERVE_WORKER + name, 1, ex=_SERVE_SECONDS)


def readiness(redis: "Redis") -> Readiness:
    """What the service can do right now, and what is missing."""
    try:
        merge, generate = (_any(redis, prefix) for prefix in (MERGE_WORKER, SERVE_WORKER))
    except RedisError as error:
        return Readiness(merge=False, generate=False, redis=False, detail=[f"Redis is away: {error}"])
    detail = [] if merge else ["no merge worker is running: start one with `polymerge worker merge`"]
    detail += [] if generate else ["no serve worker is running: start one with `polymerge worker engine`"]
    return Readiness(merge=merge, generate=generate, redis=True, detail=detail)


def _any(redis: "Redis", prefix: str) -> bool:
    return next(iter(redis.scan_iter(match=prefix + "*", count=1000)), None) is not None

"""How every part of Polymerge connects to Redis."""

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

WORKER_ATTEMPTS = 12
"""Some 25 s in all: a Redis that is restarted under a running job must not cost the job."""
GATEWAY_ATTEMPTS = 4
"""Some 3 s in all: long enough for a restart, short enough for a client that waits."""
_ASYNC_CONNECTIONS = 32
_WAIT_SECONDS = 20
_BACKOFF = ExponentialBackoff(cap=3.0, base=0.1)
_PASSING = [ConnectionError, TimeoutError]


def connect(url: str, attempts: int = WORKER_ATTEMPTS) -> "redis.Redis":
    """A client that rides out a restart of the server."""
    return redis.Redis.from_url(
        url, retry=Retry(_BACKOFF, attempts), retry_on_error=_PASSING, health_check_interval=30
    )


def connect_async(url: str, attempts: int = GATEWAY_ATTEMPTS) -> "redis.asyncio.Redis":
    """The same for asyncio. When all connections are taken, a command waits for one."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=_ASYNC_CONNECTIONS,
        timeout=_WAIT_SECONDS,
        retry=AsyncRetry(_BACKOFF, attempts),
        retry_on_error=_PASSING,
        health_check_interval=30,
    )
    return redis.asyncio.Redis.from_pool(pool)


def text(raw: object) -> str:
    """A key or value as Redis gave it (rq needs connections that don't decode) as a string."""
    return raw.decode() if isinstance(raw, bytes) else str(raw)

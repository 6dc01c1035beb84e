"""How every part of Polymerge connects to Redis."""

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

# Together about 20 s: a Redis that is restarted under a running job must not cost the job.
_ATTEMPTS = 12
_BACKOFF = ExponentialBackoff(cap=3.0, base=0.1)
_PASSING = [ConnectionError, TimeoutError]


def connect(url: str) -> "redis.Redis":
    """A client that rides out a restart of the server."""
    return redis.Redis.from_url(
        url, retry=Retry(_BACKOFF, _ATTEMPTS), retry_on_error=_PASSING, health_check_interval=30
    )


def text(raw: object) -> str:
    """A key or value as Redis gave it (rq needs connections that don't decode) as a string."""
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def connect_async(url: str) -> "redis.asyncio.Redis":
    """The same for asyncio."""
    return redis.asyncio.Redis.from_url(
        url, retry=AsyncRetry(_BACKOFF, _ATTEMPTS), retry_on_error=_PASSING, health_check_interval=30
    )

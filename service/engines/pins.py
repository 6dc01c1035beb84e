"""Models that stay loaded whatever else is asked for."""

from redis import Redis

from service.engines import keys


def pin(redis: "Redis", model: str) -> None:
    """Load the model as soon as there is room, and keep it; one that failed to load is tried again."""
    redis.hdel(keys.FAILURES, model)
    redis.sadd(keys.PINS, model)


def unpin(redis: "Redis", model: str) -> None:
    """Treat the model as any other again."""
    redis.srem(keys.PINS, model)

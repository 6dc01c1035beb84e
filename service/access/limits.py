"""How much a key may ask: requests per minute, and requests at a time."""

from collections import Counter

from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.rates import Rates, Taken
from service.contracts.access import ApiKey
from service.errors import ProblemError, respond

_AT_ONCE_RETRY_SECONDS = 1


class KeyLimits:
    """Middleware within Authentication: 429 for a key that asks too much.

    Requests at a time, streams included, are counted by each gateway for itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key: ApiKey | None = scope["state"]["key"] if scope["type"] == "http" else None
        if key is None or not (key.requests_per_minute or key.concurrent_requests):
            await self._app(scope, receive, send)
            return
        self._running[key.id] += 1
        try:
            await self._answer(key, scope, receive, send)
        finally:
            self._running[key.id] -= 1

    async def _answer(self, key: ApiKey, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check_running(key)
            headers = await _take(scope["app"].state.parts.rates, key)
        except (ProblemError, RedisError) as error:
            await respond(scope["path"], error)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _check_running(self, key: ApiKey) -> None:
        """Raises ProblemError. The request itself is counted already."""
        limit = key.concurrent_requests
        if limit and self._running[key.id] > limit:
            detail = (
                f"the key '{key.name}' may have {limit} requests answered at a time; wait for one of them"
            )
            raise ProblemError(429, "rate-limited", detail, retry_after=_AT_ONCE_RETRY_SECONDS)


async def _take(rates: Rates, key: ApiKey) -> list[tuple[bytes, bytes]]:
    """Headers that say what is left of the key's minute. Raises ProblemError when nothing is."""
    limit = key.requests_per_minute
    if not limit:
        return []
    taken = await rates.take(key.id, limit)
    headers = _headers(limit, taken)
    if taken.wait_ms:
        detail = f"the key '{key.name}' may ask {limit} times a minute; wait {taken.wait_seconds} s"
        raise ProblemError(429, "rate-limited", detail, retry_after=taken.wait_seconds, headers=headers)
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _headers(limit: int, taken: Taken) -> dict[str, str]:
    """As in draft-ietf-httpapi-ratelimit-headers-10."""
    wait = f";t={taken.wait_seconds}" if taken.wait_ms else ""
    return {
        "RateLimit-Policy": f'"minute";q={limit};w=60',
        "RateLimit": f'"minute";r={taken.remaining}{wait}',
    }

"""What the routes work with, made once at start: the gateway's connections and the things built on them."""

from dataclasses import dataclass
from typing import Annotated

import httpx2
import redis
from fastapi import Depends, Request

from service.connection import GATEWAY_ATTEMPTS, connect, connect_async
from service.engines.router import EngineRouter
from service.languages.profile import Profiles
from service.queue import JobQueue
from service.registry import Registry
from service.settings import Settings
from service.store import Store


@dataclass(frozen=True)
class Parts:
    settings: Settings
    redis: "redis.Redis"
    store: Store
    registry: Registry
    jobs: JobQueue
    router: EngineRouter
    engine_http: httpx2.AsyncClient
    profiles: Profiles

    async def close(self) -> None:
        await self.engine_http.aclose()
        await self.router.close()
        self.redis.close()


def make_parts(settings: Settings) -> Parts:
    connection = connect(settings.redis_url, GATEWAY_ATTEMPTS)
    store = Store(settings.store_root)
    return Parts(
        settings=settings,
        redis=connection,
        store=store,
        registry=Registry(store, connection),
        jobs=JobQueue(connection),
        router=EngineRouter(connect_async(settings.redis_url), settings.generate_timeout_seconds),
        engine_http=httpx2.AsyncClient(
            timeout=httpx2.Timeout(settings.generate_timeout_seconds, connect=5.0),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
        ),
        profiles=Profiles(settings.languages),
    )


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Wired = Annotated[Parts, Depends(_parts)]
"""Annotate a route's parameter with it to get the Parts."""

"""What the routes work with, made once at start: the gateway's connections and the things built on them."""

from dataclasses import dataclass
from typing import Annotated

import redis
from fastapi import Depends, Request

from service.access.rates import Rates
from service.answering.judges import read_judges
from service.answering.model_access import ModelAccess
from service.connection import GATEWAY_ATTEMPTS, connect, connect_async
from service.engines.router import EngineRouter
from service.jobs.queue import JobQueue
from service.languages.profile import Profiles
from service.models.open_store import open_store
from service.models.registry import Registry
from service.models.store import Store
from service.models.usable_models import UsableModels
from service.requests.admission import Admission
from service.settings import Settings


@dataclass(frozen=True)
class Parts:
    settings: Settings
    redis: "redis.Redis"
    store: Store
    registry: Registry
    usable: UsableModels
    jobs: JobQueue
    router: EngineRouter
    models: ModelAccess
    admission: Admission
    rates: Rates
    profiles: Profiles

    async def close(self) -> None:
        await self.models.close()
        await self.router.close()
        self.redis.close()


def make_parts(settings: Settings) -> Parts:
    connection = connect(settings.redis_url, GATEWAY_ATTEMPTS)
    store = open_store(settings)
    asynchronous = connect_async(settings.redis_url)
    registry = Registry(store, connection)
    router = EngineRouter(asynchronous, settings.generate_timeout_seconds)
    return Parts(
        settings=settings,
        redis=connection,
        store=store,
        registry=registry,
        usable=UsableModels(registry, asynchronous),
        jobs=JobQueue(connection, settings.max_queued_jobs),
        router=router,
        models=ModelAccess(router, read_judges(settings.judges), settings.generate_timeout_seconds),
        admission=Admission(settings.max_requests, settings.retry_after_seconds),
        rates=Rates(asynchronous),
        profiles=Profiles(settings.languages),
    )


async def _parts(request: Request) -> Parts:
    # Not a plain function: FastAPI would go through a thread for it.
    parts: Parts = request.app.state.parts
    return parts


Wired = Annotated[Parts, Depends(_parts)]
"""Annotate a route's parameter with it to get the Parts."""
